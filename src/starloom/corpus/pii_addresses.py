"""E-mail and IP addresses in the bytes of a text.

Candidates are found by vectors (an `@`; dots or colons at the distances of an address), then a bounded neighborhood of
each is judged by plain code: no pattern runs over the whole text, and none can run away.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import numpy as np

Found = tuple[int, int]  # bytes

LOCAL = 64  # octets of a local part (RFC 5321 §4.5.3.1.1)
DOMAIN = 253  # octets of a domain (RFC 1035 §2.3.4, without the last dot)

_LOCAL = re.compile(rb"[A-Za-z0-9_.%+'\x80-\xff-]{1,64}\Z")
_DOMAIN = re.compile(rb"[A-Za-z0-9.\x80-\xff_-]{1,253}")
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?\Z")
_EAST_ASIAN = 0x2E80  # from here on scripts that set no space around an address
_TEMPLATE = (b"}", b"%", b"$", b")", b"]", b"&", b"\\")  # before a local part: the rest of a format or a variable
_SCALED = re.compile(r"[1-9]x\Z")  # logo@2x.png
_CALL = re.compile(rb"[(@=]|\[(?!at|dot)")  # a method, a mark or a version, no address
_REMOTE = re.compile(rb":(?!//)[\w~/.]")  # host:path of scp and git
_USER = re.compile(rb"(?:[^\s/:@\"'<>]*:)?")
LOGIN = 160  # bytes in front of a host in which its scheme is looked for
_NO_PERSON = frozenset(str.split("git hg svn this self super return break continue"))  # remotes, labels of Kotlin
_EXAMPLES = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|org|net|edu))?|invalid|test|localhost|local|localdomain)\Z")
# Last labels that are endings of files, units of systemd or members of an object, and no top-level domains.
_NO_DOMAIN = frozenset(
    str.split(
        "png jpg jpeg gif svg webp ico bmp css scss less js jsx ts tsx mjs html htm xml json yml yaml toml txt csv pdf doc "
        "cpp hpp java class jar exe dll lib dylib rb php go lock log tar gz zip service socket timer target mount device "
        "dot data value weight name size shape grad self item items get set text node id0"
    )
)
_USUAL = frozenset(
    str.split(
        "com org net edu gov mil int info biz name pro aero coop museum mobi asia cat jobs tel travel xxx post arpa dev app "
        "xyz online site tech store blog cloud email live agency academy design digital systems software solutions group "
        "company world today space website network studio science university academy codes tools works zone team"
    )
)
# 14 public resolvers that are no one's address (bigcode-dataset pii/pii_redaction.py).
POPULAR_DNS = frozenset(
    str.split(
        "8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 76.76.19.19 76.223.122.150 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 "
        "8.26.56.26 8.20.247.20 94.140.14.14 94.140.15.15"
    )
)
AROUND = 100  # bytes on either side of x.x.x.x in which a server must be spoken of (BigCode emails_ip_…_detection.py)
_SERVER = re.compile(rb"(?i)dns|server|\bip\b|host|addr|peer|ping|gateway")
_VERSION = re.compile(
    rb"(?i)(?:version|\bver\b|release|revision|\brev\b|section|chapter|\boid\b|[<>=~^]=|artifact|\bpkg\b|package"
    rb"|implementation\(|compile |<v>|\btag\b|\bgem\b|@since|\bup(?:date|grade)d? to)[^\n]{0,60}\Z"
    rb"|(?:\bsince|\bbuild|\bsdk|\btable|\bfigure|\bfig\.|\bclause|\bappendix|\bannex|\bstep)\W{1,3}\Z|[\^~\xa7] ?\Z"
    rb"|(?:\bupdate|\bupgrade|\bbump|\bpatch)\b[^\n]{0,40} to \Z"
    rb"|\A\s{0,8}[#=*]{1,6} ?\[?\Z"  # a heading
    rb"|[\w-]/[\w./-]{0,60}\w:\Z"  # an image and its tag
    rb"|[A-Za-z][\w.-]{0,60}:[\w.-]{1,60}:\Z"  # group:artifact:version of Maven
)
_RELEASED = re.compile(
    rb"-[A-Za-z]|-[0-9a-f]{5}| [Rr]elease|-[0-9]{1,2}(?:[)~+]|ubuntu|\.el|\.fc|build)|\]? \([12][0-9]{3}-"
)  # behind a version
_DECIMAL = re.compile(rb"(?:\A|[^0-9.])[0-9]*\.[0-9]+[ ,-]\Z")  # paths of SVG
_REMARK = re.compile(rb"\s*(?:\*|//|#|--|;|%)")
_HEADED = re.compile(rb"\.?[ \t]+[A-Z][a-z]+ ")  # behind the number of a heading
_LARGEST_SECTION = 40  # of a standard; our choice
_OID = re.compile(rb"2\.5\.29\.[0-9]")  # extensions of certificates
_QUAD = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_COLONS = re.compile(rb"[0-9A-Fa-f:]{1,38}:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]{2,39}")


def find_emails(data: bytes) -> Iterator[Found]:
    """E-mail addresses of people and companies; none of the reserved domains (RFC 2606), no remotes of git."""
    known: set[bytes] = set()
    doubtful: list[Found] = []
    at = data.find(b"@")
    while at >= 0:
        span = _email_at(data, at)
        if span is not None:
            start, end, sure = span
            if sure:
                known.add(data[start:end])
                yield start, end
            else:
                doubtful.append((start, end))
        at = data.find(b"@", at + 1)
    yield from (one for one in doubtful if data[one[0] : one[1]] in known)  # the same value in a doubtful place


def _email_at(data: bytes, at: int) -> tuple[int, int, bool] | None:
    """(start, end, sure) of the address around an `@`."""
    before = _LOCAL.search(data[max(at - LOCAL, 0) : at]) if at and data[at - 1] not in b" \n\t(\"'<" else None
    after = _DOMAIN.match(data, at + 1, at + 1 + DOMAIN)
    if before is None or after is None:
        return None
    local, domain = _local(before[0]), _domain(after[0])
    if local[:1] in ("n", "r", "t") and data[at - len(local.encode()) - 1 : at - len(local.encode())] == b"\\":
        local = local[1:]  # the end of `\n`
    if not local or not domain:
        return None
    start, end = at - len(local.encode()), at + 1 + len(domain.encode())
    labels = domain.lower().split(".")
    if data[start - 1 : start] in _TEMPLATE or labels[-1] in _NO_DOMAIN or _SCALED.match(labels[0]):
        return None
    if _EXAMPLES.search(domain.lower()) or _CALL.match(data, end):
        return None
    usual = len(labels[-1]) == 2 or labels[-1] in _USUAL
    quoted = data[start - 1 : start] in (b"<", b'"', b"'", b"`") or data.endswith(b"mailto:", 0, start)
    member = not domain.split(".")[-1].islower() or (len(local) == 1 and len(labels) == 2 and not usual)
    remote = _REMOTE.match(data, end) or local.lower() in _NO_PERSON or _login(data, start)
    return start, end, not remote and not member and (usual or quoted)


def _login(data: bytes, start: int) -> bool:
    """Whether what looks like a local part is the user or password of an address `scheme://user:password@host`."""
    before = data[max(start - LOGIN, 0) : start]
    begin = before.rfind(b"://")
    return begin >= 0 and _USER.fullmatch(before, begin + 3) is not None


def _local(octets: bytes) -> str:
    """The local part at the end of some octets; empty where there is none."""
    text = octets.decode(errors="replace")
    start = len(text)
    while start and (text[start - 1].isascii() or (text[start - 1].isalpha() and ord(text[start - 1]) < _EAST_ASIAN)):
        start -= 1
    return text[start:].lstrip(".'%+-") if not text.endswith(".") else ""


def _domain(octets: bytes) -> str:
    """The domain at the beginning of some octets: labels of letters and digits, the last of letters."""
    text = octets.decode(errors="replace")
    end = 0
    while end < len(text) and (text[end].isascii() or (text[end].isalpha() and ord(text[end]) < _EAST_ASIAN)):
        end += 1
    labels = text[:end].rstrip(".-_").split(".")
    for number, label in enumerate(labels):
        if not _LABEL.match(label):
            labels = labels[:number]
            break
    if len(labels) < 2 or not ((labels[-1].isalpha() and len(labels[-1]) > 1) or labels[-1].startswith("xn--")):
        return ""
    return ".".join(labels)


def find_ips(data: bytes) -> Iterator[Found]:
    """Addresses of IPv4 and IPv6 that somebody has: no private, reserved or documentation ones, no popular resolvers,
    nothing that looks like a version."""
    octets = np.frombuffer(data, np.uint8)
    known: set[bytes] = set()
    doubtful: list[Found] = []
    for start, end, sure in (*_ipv4(data, octets), *_ipv6(data, octets)):
        if sure:
            known.add(data[start:end])
            yield start, end
        else:
            doubtful.append((start, end))
    yield from (one for one in doubtful if data[one[0] : one[1]] in known)


def _ipv4(data: bytes, octets: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> Iterator[tuple[int, int, bool]]:
    dots = np.flatnonzero(octets == 0x2E)
    gaps = np.diff(dots)
    near = (gaps > 1) & (gaps < 5)
    for number in np.flatnonzero(near[:-1] & near[1:]).tolist():
        dot = int(dots[number])
        start = dot
        while start > 0 and dot - start < 3 and 0x30 <= data[start - 1] <= 0x39:
            start -= 1
        quad = _QUAD.match(data, start) if start < dot else None
        if quad is None or not _apart(data, start, quad.end()) or not _public(quad[0].decode()):
            continue
        yield start, quad.end(), not _looks_like_version(data, start, quad.end())


def _apart(data: bytes, start: int, end: int) -> bool:
    """Whether an address stands by itself: no more digits, letters or dotted numbers around it."""
    before, after = data[start - 1 : start], data[end : end + 2]
    if before and (before.isalnum() or before in b"._" or (before == b"-" and data[start - 2 : start - 1].isalnum())):
        return False
    if before == b"/" and data[start - 2 : start - 1].isalnum():  # Chrome/1.2.3.4
        return False
    return not (after[:1].isalnum() or after[:1] == b"_" or (after[:1] == b"." and after[1:].isalnum()))


def _looks_like_version(data: bytes, start: int, end: int) -> bool:
    before, after = data[max(start - AROUND, 0) : start], data[end : end + AROUND]
    line = before.rpartition(b"\n")[2]
    if _VERSION.search(line) or _RELEASED.match(after) or _DECIMAL.search(line):
        return True
    if (
        _REMARK.match(line) and max(map(int, data[start:end].split(b"."))) < _LARGEST_SECTION
    ):  # [23.2.3.1] of a standard
        numbered = _REMARK.sub(b"", line, count=1).strip(b" *") == b"" and _HEADED.match(after)
        if numbered or (line[-1:] == b"[" and after[:1] == b"]"):
            return True
    if end - start == 7 or _OID.match(data, start):  # x.x.x.x
        return not (_SERVER.search(before) or _SERVER.search(after))
    return False


def _ipv6(data: bytes, octets: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> Iterator[tuple[int, int, bool]]:
    colons = np.flatnonzero(octets == 0x3A)
    if len(colons) < 2:
        return
    pairs = np.flatnonzero(np.diff(colons) <= 5)
    done = -1
    for number in pairs.tolist():
        colon = int(colons[number])
        if colon < done:
            continue
        start = colon
        while start > 0 and colon - start < 4 and data[start - 1] in b"0123456789abcdefABCDEF":
            start -= 1
        if start and (data[start - 1 : start].isalnum() or data[start - 1] in b"_:."):
            continue
        match = _COLONS.match(data, start)
        if match is None:
            continue
        end = match.end()
        if data[end - 1] == 0x3A and data[end - 2 : end] != b"::":  # `2001:db8::1: text`
            end -= 1
        done = end
        if data[end : end + 1].isalnum() or data[end : end + 1] == b"_":
            continue
        value = data[start:end].decode()
        if _is_ipv6(value):
            yield start, end, True


def _is_ipv6(value: str) -> bool:
    """Eight groups, a prefix that is given out, or one of IPv4 behind ::ffff: — `abc::def` and `1::2` are code."""
    groups = value.split(":")
    if value.lower().startswith("::ffff:") and "." in value:
        return _public(groups[-1])
    whole = len(groups) == 8 and "" not in groups and any(len(group) > 2 for group in groups)
    return (whole or (len(groups[0]) == 4 and value[0] in "23")) and any(map(str.isdigit, value)) and _public(value)


def _public(value: str) -> bool:
    """Whether an address is valid, and that of some machine in the world. Leading zeros are refused, and with them dates."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast and value not in POPULAR_DNS
