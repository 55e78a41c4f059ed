"""Keys, tokens and secrets in the bytes of a text: by their issuers' formats, by the name they are given, by their looks.

Every secret has a run of 16 and more letters and digits. Runs are found by a translation table and `bytes.find`; the few
that hold a digit and could be drawn by chance are judged, with the line around them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterator
from math import log2

from starloom.corpus.pii_gibberish import SURPRISE, surprise

Found = tuple[int, int]  # bytes

SHORTEST = 16  # octets of a run; the shortest issued key (the part of AWS's behind AKIA, Twilio's) has as many
LONGEST = 512  # of a named or quoted secret; longer is data
LINE = 160  # bytes of a line in front of a value that are looked at
SEVERAL = 4  # values without a name or a format in one file: a table of data, not secrets
_RUN = bytes.maketrans(
    bytes(range(256)),
    bytes(0x61 if chr(one).isascii() and (chr(one).isalnum() or chr(one) in "_+/=-") else 0 for one in range(256)),
)
_DIGITS = b"0123456789"
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Formats as the issuers document them.
_ISSUED = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS
    rb"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,90}"  # GitHub
    rb"|gl(?:pat|dt|rt|cbt|ptt|soat)-[A-Za-z0-9_-]{20,64}"  # GitLab
    rb"|xox[abeoprs]-[A-Za-z0-9-]{10,250}|xapp-[0-9]-[A-Za-z0-9-]{10,250}"  # Slack
    rb"|(?<=services/)T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{20,28}"  # Slack's webhooks
    rb"|(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,128}|whsec_[A-Za-z0-9+/]{32,64}"  # Stripe
    rb"|sk-(?:ant-|proj-|svcacct-|or-)?[A-Za-z0-9_-]{32,200}"  # OpenAI, Anthropic, OpenRouter
    rb"|AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{30,200}"  # Google
    rb"|SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}"  # SendGrid
    rb"|(?:SK|AC)[0-9a-f]{32}(?![A-Za-z0-9])"  # Twilio
    rb"|key-[0-9a-f]{32}(?![A-Za-z0-9])|[0-9a-f]{32}-us[0-9]{1,2}(?![0-9a-z])"  # Mailgun, Mailchimp
    rb"|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,250}|hf_[A-Za-z]{34}|rubygems_[0-9a-f]{48}"
    rb"|do[opr]_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}"
    rb"|AGE-SECRET-KEY-1[A-Z0-9]{58}|(?:pk|sk|tk)\.eyJ[A-Za-z0-9_-]{30,200}\.[A-Za-z0-9_-]{20,64}"  # age, Mapbox
    rb"|(?<![_-])eyJ[A-Za-z0-9_-]{10,4096}\.eyJ[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{20,1024}"  # a JSON Web Token
    rb"|[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}(?![A-Za-z0-9_-])"  # Discord's bots
    rb"|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"  # Telegram's bots
    rb")"
)
_HEADS = re.compile(  # how these begin, to look at little text with a short pattern first
    rb"A[KSBC][IC]A|gh[pousr]_|github_pat_|gl[a-z]{2,4}-|xox[abeoprs]-|xapp-|T[A-Z0-9]{8,12}/B|[sr]k_|whsec_|sk-|AIza|GOC|"
    rb"ya29|SG\.|SK[0-9a-f]|AC[0-9a-f]|key-|[0-9a-f]{32}-us|npm_|pypi-|hf_|rubygems_|do[opr]_v1_|shp|sq0|AGE-|[pst]k\.|eyJ|"
    rb"[0-9]{8,10}:AA|[MNO][A-Za-z0-9_-]{23,27}\."
)
_UNDIGITED = re.compile(
    rb"A[KSBC][IC]A|\Ahf_|\AeyJ|\AAA|(?:[sr]k_(?:live|test)|gh[pousr]|npm)_|\bgl[a-z]{2,4}-|AIza|xox"
)
HEAD = 12  # bytes in front of a run in which a format may begin: the number of a Telegram bot
_ACCOUNT = re.compile(rb"AC[0-9a-f]{32}\Z")  # Twilio's account: a name, no secret
_BEHIND_ACCOUNT = re.compile(rb"AC[0-9a-f]{32}[\"'`]?\s{0,4},\s{0,8}[\"'`]\Z")
_PEM = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----")
_PEM_LONGEST = 16_384

_NAME = re.compile(
    rb"(?i)(?:secret|(?<!next)(?<!page)(?<!next[_-])(?<!page[_-])(?<!update)token(?!i[sz])|passw|passphrase|credential|bearer|authorization|apikey|\bauth\b|api[_.\- ]?key"
    rb"|(?:access|account|app|application|auth|client|consumer|crypt|encryption|developer|gateway|license|maps|master"
    rb"|private|secure|server|service|session|shared|signing|storage|wifi|write|admin|search|merchant)[_.\- ]{0,2}key"
    rb"|key(?:[\"'\])]{0,2}\s{0,4}(?:=>|[:=,]))|\bcipher|\bsalt\b|appid|login|\bkey[\"'\s:=(]{1,6}\Z)"
)
_ASSIGNED = re.compile(
    rb"(?:=>|:=|[=:(,\[>]|[Bb]earer |[Bb]asic |[Tt]oken |\s)\s{0,8}(?:[a-zA-Z\[\]()]{1,10}\()?[\"'`>]?\Z"
)
_UNLIKELY = re.compile(
    rb"(?i)sha-?[0-9]|sha_?sum|\bsha\b|md5|hash|checksum|digest|integrity|etag|commit|revision|uuid|guid|fingerprint|"
    rb"public[_\- ]?key|ssh-(?:rsa|ed|dss)|thumbprint|version|cache|trace|image|data:|base64|b64|decode|encode|"
    rb"vector|expect|assert|contract|address|wallet|alphabet|charset|build_?id|change-id|content-?id|nonce|serial|"
    rb"https?://|\bh1:|_id\b|\bid[\"' ]|resource|path|file|class|font|svg|integrity|signature"
)
_HASHED = re.compile(
    rb"(?i)sha-?[0-9]|sha_?sum|\bsha\b|md5|hash|checksum|digest|integrity|etag|commit|revision|uuid|guid|fingerprint|"
    rb"public[_\- ]?key|thumbprint|\bh1:|vector"
)
_UUID = re.compile(rb"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
_HEX = re.compile(rb"(?:[0-9a-f]+|[0-9A-F]+)\Z")
_NO_SECRET = re.compile(  # how checksums begin, and files in base64: images, sounds, fonts, archives, documents
    rb"sha(?:256|384|512)-|0x|data|iVBORw0K|R0lGOD|/9j/|UklGR|JVBERi|PHN2Zy|PD94bW|H4sI|UEsDB|d09G[Rg]|MFkwEw|MII[BC]IjANBg|MIGfMA0G|AAEAAA|T2dnUw|SUQz|Qk[0-9]"
)
_PLACEHOLDER = re.compile(
    rb"(?i)your|example|xxxx|placeholder|changeme|replace|insert|dummy|sample|redacted|secret|password|here|abcdef|"
    rb"ghijkl|012345|123456|(.)\1{5}"
)
_WORD = re.compile(rb"[A-Z][a-z]{2,}")
_DJANGO = re.compile(rb"[a-z0-9!@#$%^&*(_=+)-]{40,60}(?=[\"'])")


def find_keys(data: bytes) -> Iterator[Found]:
    """Keys, each once per place, in no particular order; all places of a value that was found in one."""
    spans = {*_private_keys(data), *_named_symbols(data)}
    plain: set[Found] = set()
    runs = list(_runs(data))
    done = -1
    for start, end in runs:
        if end <= done:
            continue
        for head in _HEADS.finditer(data, max(start - HEAD, done, 0), end + 1):
            issued = _ISSUED.match(data, head.start())
            if issued and not _ACCOUNT.match(issued[0]) and b"EXAMPLE" not in issued[0]:
                spans.add(issued.span())
                done = max(done, issued.end())
        judged = _judged(data, start, end) if start >= done else None
        if judged is not None:
            (spans if judged[1] else plain).add(judged[0])
    if len({data[start:end] for start, end in plain}) < SEVERAL:
        spans |= plain
    yield from spans
    yield from _again(data, runs, spans)


def _runs(data: bytes) -> Iterator[Found]:
    """Runs of letters, digits and `_+/=-` with at least SHORTEST octets, among them a digit, or a long word."""
    classes = data.translate(_RUN)
    probe = b"a" * SHORTEST
    start = classes.find(probe)
    while start >= 0:
        end = classes.find(b"\0", start + SHORTEST)
        end = len(data) if end < 0 else end
        run = data[start:end]
        if len(run.translate(None, _DIGITS)) < len(run) or _UNDIGITED.search(run):
            yield start, end
        start = classes.find(probe, end)


def _private_keys(data: bytes) -> Iterator[Found]:
    """What lies between the lines of a private key."""
    for begin in _PEM.finditer(data) if b"PRIVATE KEY" in data else ():
        end = data.find(b"-----END", begin.end(), begin.end() + _PEM_LONGEST)
        body = data[begin.end() : end] if end >= 0 else b""
        inner = body.strip(b" \t\r\n\"'+,;")
        while inner[:2] in (b"\\n", b"\\r"):
            inner = inner[2:]
        while inner[-2:] in (b"\\n", b"\\r"):
            inner = inner[:-2]
        if len(inner) > 64 and _entropy(inner[:400]) > 4:
            start = begin.end() + body.index(inner)
            yield start, start + len(inner)


def _judged(data: bytes, start: int, end: int) -> tuple[Found, bool] | None:
    """(span, whether it has the name of a secret) of a run that is a secret by name or looks."""
    if data[end : end + 1] in (b"(", b".", b"["):
        return None
    while data[start] in b"=/-+" and not _is_base64_head(data, start):
        start += 1
    head, equals, tail = data[start:end].partition(b"=")
    if equals and len(tail.strip(b"=")) >= SHORTEST:  # NAME=value without quotes
        start += len(head) + 1
    value = data[start:end]
    digits = len(value) - len(value.translate(None, _DIGITS))
    quoted = data[start - 1 : start] in (b'"', b"'", b"`") and data[end : end + 1] == data[start - 1 : start]
    if not SHORTEST <= len(value) <= LONGEST or not 0 < digits < len(value):
        return None
    if not (quoted or _ASSIGNED.search(data, max(start - 24, 0), start)) or surprise(value) < SURPRISE or _path(value):
        return None
    if not _HEX.match(value) and _name(value):
        return None
    before = data[max(start - LINE, 0) : start].rpartition(b"\n")[2]
    named = _NAME.search(before[-80:]) is not None or _BEHIND_ACCOUNT.search(before) is not None
    if (
        not (named or quoted)
        or _UUID.match(value)
        or _ACCOUNT.match(value)
        or _PLACEHOLDER.search(value)
        or _NO_SECRET.match(value)
    ):
        return None
    if (_HASHED if named else _UNLIKELY).search(before):
        return None
    if _HEX.match(value):
        return ((start, end), True) if named and len(value) >= 20 and _entropy(value) > 3.0 else None
    mixed = value.lower() != value and value.upper() != value and digits > 1
    if (not mixed and surprise(value) < SURPRISE + 0.4) or _is_text(value, before):
        return None
    if named:
        return ((start, end), True) if _entropy(value) > 3.2 else None
    return ((start, end), False) if mixed and 20 <= len(value) <= 128 and _entropy(value) > 3.8 else None


def _is_base64_head(data: bytes, start: int) -> bool:
    """Whether `/` or `+` at the start of a run is the first letter of a quoted value."""
    return data[start : start + 1] in b"/+" and data[start - 1 : start] in (b'"', b"'", b"`", b"=")


def _name(value: bytes) -> bool:
    """Short pieces between hyphens, or words with capitals: what a program or a model is called."""
    pieces = re.split(rb"[-/_.]", value)
    words = _WORD.findall(value)
    short = len(pieces) > 3 and max(map(len, pieces)) < 9
    return short or (len(words) > 1 and sum(map(len, words)) >= 0.6 * len(value))


def _path(value: bytes) -> bool:
    """Pieces between slashes that are words: a path or an address."""
    pieces = value.split(b"/")
    return len(pieces) > 1 and sum(surprise(one) < SURPRISE for one in pieces if len(one) > 2) * 2 > len(pieces)


def _is_text(value: bytes, before: bytes) -> bool:
    """Whether a value is base64 of readable text, other than that of `user:password`."""
    try:
        text = base64.b64decode(
            value + b"=" * (-len(value) % 4), altchars=b"-_" if b"-" in value or b"_" in value else None
        )
    except (binascii.Error, ValueError):
        return False
    readable = sum(32 <= one < 127 for one in text) >= 0.9 * len(text)
    return readable and not re.search(rb"(?i)basic\s{1,4}\Z", before)


def _named_symbols(data: bytes) -> Iterator[Found]:
    """Secrets of letters, digits and punctuation, such as Django writes into `SECRET_KEY`."""
    at = data.find(b"SECRET_KEY")
    while at >= 0:
        opened = re.compile(rb"SECRET_KEY[\"'\]\s]{0,6}[=:(,]\s{0,4}[\"'](?:django-insecure-)?").match(data, at)
        if opened:
            value = _DJANGO.match(data, opened.end())
            if value and _entropy(value[0]) > 3.8 and not _PLACEHOLDER.search(value[0]):
                yield value.span()
        at = data.find(b"SECRET_KEY", at + 10)


def _again(data: bytes, runs: list[Found], spans: set[Found]) -> Iterator[Found]:
    """Other places where a value stands, also inside a longer run."""
    values = {data[start:end] for start, end in spans}
    lengths: dict[bytes, set[int]] = {}
    for value in values:
        lengths.setdefault(value[:SHORTEST], set()).add(len(value))
    taken = {start for start, _ in spans}
    for start, end in runs if lengths else ():
        for at in range(start, end - SHORTEST + 1):
            for length in lengths.get(data[at : at + SHORTEST], ()):
                if at not in taken and data[at : at + length] in values:
                    yield at, at + length


def _entropy(value: bytes) -> float:
    """Shannon entropy in bits per octet."""
    return -sum(count / len(value) * log2(count / len(value)) for count in Counter(value).values())
