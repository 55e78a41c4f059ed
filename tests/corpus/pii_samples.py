"""Labelled samples of personal data: the snippets of tests/data/pii with their slots filled, and how well spans fit them.

A slot `«KEY:github»` becomes a made-up value with a label; `«no:sha1»` one without. The files hold no values, so that
nothing in the repository looks like a leaked key. EMAIL_EXAMPLE is a label of StarPII that counts neither way. Tuning
was done on tuning.txt; heldout.txt was written before the first measurement, second.txt later, by someone who had not
read the detectors. First figures of both stand in docs/decisions/0002-corpus.md; then classes of mistakes were mended.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import random
import re
import string
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parents[1] / "data" / "pii"
BASE62 = string.ascii_letters + string.digits
BASE64 = BASE62 + "+/"
COPIES = 5  # of each snippet, with other values
SLOT = re.compile("«([^»]*)»")
IGNORED = frozenset({"EMAIL_EXAMPLE", "PASSWORD"})  # passwords are a tagger's, and no mistake of the patterns
POPULAR = {"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"}


class Label(NamedTuple):
    start: int  # bytes
    end: int
    reason: str


class Sample(NamedTuple):
    language: str
    text: str
    labels: tuple[Label, ...]


def samples(name: str) -> list[Sample]:
    """The samples of `tuning` or `heldout`, the same every time."""
    blocks = re.split(r"^=== (.*)\n", (DATA / f"{name}.txt").read_text("utf-8"), flags=re.MULTILINE)[1:]
    return [
        filled(language, text, random.Random(f"{name} {number} {copy}"))
        for number, (language, text) in enumerate(zip(blocks[::2], blocks[1::2], strict=True))
        for copy in range(COPIES if SLOT.search(text) else 1)
    ]


def filled(language: str, text: str, chance: random.Random) -> Sample:
    """One snippet with values in its slots."""
    pieces: list[str] = []
    labels: list[Label] = []
    size = done = 0
    for slot in SLOT.finditer(text):
        kind, _, how = slot[1].partition(":")
        value = value_of(kind, how, chance)
        size += len(text[done : slot.start()].encode())
        end = size + len(value.encode())
        if kind != "no":
            labels.append(Label(size, end, "IP_ADDRESS" if kind == "IP" else kind))
        pieces += [text[done : slot.start()], value]
        size, done = end, slot.end()
    return Sample(language, "".join([*pieces, text[done:]]), tuple(labels))


def value_of(kind: str, how: str, chance: random.Random) -> str:
    """A made-up value."""
    if kind == "EMAIL":
        return email(chance)
    if kind == "EMAIL_EXAMPLE":
        local = chance.choice(["user", "test.user", "foo", "jane+tag"])
        if how == "msg":
            local = f"2021{drawn(chance, string.digits, 8)}.GA{drawn(chance, string.digits, 5)}"
        return f"{local}@{chance.choice(['example.com', 'example.org', 'mail.example.com', 'foo.invalid'])}"
    if kind == "IP":
        return FORMS[how](chance)
    return key(how, chance)


def drawn(chance: random.Random, alphabet: str, count: int) -> str:
    return "".join(chance.choice(alphabet) for _ in range(count))


def email(chance: random.Random) -> str:
    first = chance.choice(
        str.split("anna bo chen dmitri elena fatima george hana ivan julia kofi lars maria nils olga")
    )
    last = chance.choice(str.split("smith mueller garcia wang ivanova okafor silva jansen novak rossi kim tanaka"))
    local = chance.choice(
        [
            f"{first}.{last}",
            f"{first[0]}{last}",
            f"{first}_{last}",
            f"{first}{chance.randrange(100)}",
            first,
            f"{first}.{last}+code",
            f"{last}-{first}",
            f"{first}.{last[0]}.{chance.randrange(1950, 2005)}",
        ]
    )
    domain = chance.choice(
        [
            "gmail.com",
            "yahoo.co.uk",
            "hotmail.com",
            "cs.stanford.edu",
            "inria.fr",
            "mail.ru",
            "163.com",
            "web.de",
            "users.sourceforge.net",
            "protonmail.ch",
            "my-company.io",
            "acme.dev",
            "kth.se",
            "outlook.com.br",
            "nasa.gov",
        ]
    )
    return f"{local}@{domain}"


def ip4(chance: random.Random) -> str:
    while True:
        address = ipaddress.IPv4Address(chance.getrandbits(32))
        if address.is_global and not address.is_multicast and str(address) not in POPULAR:
            return str(address)


def ip6(chance: random.Random) -> str:
    prefix = chance.choice([0x2A01_04F8, 0x2600_1F18, 0x2A02_06B8, 0x2001_19F0, 0x2607_F8B0])
    host = chance.choice([chance.getrandbits(96), chance.getrandbits(32) << 64 | 1, chance.getrandbits(16)])
    return str(ipaddress.IPv6Address(prefix << 96 | host))


FORMS = {
    "4": ip4,
    "6": ip6,
    "6mapped": lambda chance: f"::ffff:{ip4(chance)}",
    "6full": lambda chance: ipaddress.IPv6Address(ip6(chance)).exploded,
    "6upper": lambda chance: ip6(chance).upper(),
}


def key(how: str, chance: random.Random) -> str:
    """A value in the format of an issuer, or of an alphabet and length."""
    kind, _, count = how.partition(":")
    alphabets = {"b62": BASE62, "b64": BASE64, "hex": "0123456789abcdef"}
    if kind in alphabets:
        return drawn(chance, alphabets[kind], int(count))
    if kind == "jwt":
        payload = {"sub": drawn(chance, string.digits, 10), "iat": chance.randrange(10**9, 2 * 10**9)}
        head, body = (
            base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=")
            for one in ({"alg": "HS256", "typ": "JWT"}, payload)
        )
        return f"{head}.{body}.{drawn(chance, BASE62 + '-_', 43)}"
    if kind in ("pem", "pem1"):
        lines = ["MII" + drawn(chance, BASE64, 61), *(drawn(chance, BASE64, 64) for _ in range(12))]
        return ("\n" if kind == "pem" else "\\n").join([*lines, drawn(chance, BASE64, 30) + "=="])
    if kind == "uuid":
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))
    made = {
        "md5": lambda: drawn(chance, "0123456789abcdef", 32),
        "sha1": lambda: drawn(chance, "0123456789abcdef", 40),
        "sha256": lambda: drawn(chance, "0123456789abcdef", 64),
        "aws": lambda: "AKIA" + drawn(chance, string.ascii_uppercase + "234567", 16),
        "azure": lambda: drawn(chance, BASE64, 86) + "==",
        "digitalocean": lambda: "dop_v1_" + drawn(chance, "0123456789abcdef", 64),
        "discord": lambda: (
            "M" + drawn(chance, BASE62, 23) + "." + drawn(chance, BASE62, 6) + "." + drawn(chance, BASE62, 27)
        ),
        "django": lambda: drawn(chance, "abcdefghijklmnopqrstuvwxyz0123456789!@#$%^&*(-_=+)", 50),
        "github": lambda: "gh" + chance.choice("pos") + "_" + drawn(chance, BASE62, 36),
        "gitlab": lambda: "glpat-" + drawn(chance, BASE62 + "-_", 20),
        "google": lambda: "AIza" + drawn(chance, BASE62 + "-_", 35),
        "huggingface": lambda: "hf_" + drawn(chance, string.ascii_letters, 34),
        "mailgun": lambda: "key-" + drawn(chance, "0123456789abcdef", 32),
        "mapbox": lambda: "pk.eyJ1Ijoi" + drawn(chance, BASE62, 40) + "." + drawn(chance, BASE62, 22),
        "npm": lambda: "npm_" + drawn(chance, BASE62, 36),
        "openai": lambda: "sk-" + drawn(chance, BASE62, 48),
        "pypi": lambda: "pypi-AgEIcHlwaS5vcmc" + drawn(chance, BASE62 + "-_", 130),
        "sendgrid": lambda: "SG." + drawn(chance, BASE62, 22) + "." + drawn(chance, BASE62 + "-_", 43),
        "slack": lambda: "xoxb-" + drawn(chance, string.digits, 12) + "-" + drawn(chance, BASE62, 24),
        "stripe": lambda: chance.choice(["sk_live_", "rk_live_"]) + drawn(chance, BASE62, 24),
        "telegram": lambda: drawn(chance, "123456789", 9) + ":AA" + drawn(chance, BASE62 + "-_", 33),
        "twilio": lambda: "SK" + drawn(chance, "0123456789abcdef", 32),
        "twitter": lambda: drawn(chance, "123456789", 9) + "-" + drawn(chance, BASE62, 40),
        "webhook": lambda: (
            "T"
            + drawn(chance, BASE62.upper(), 8)
            + "/B"
            + drawn(chance, BASE62.upper(), 8)
            + "/"
            + drawn(chance, BASE62, 24)
        ),
    }
    return made[kind]()


class Score(NamedTuple):
    precision: float
    recall: float
    labels: int
    wrong: tuple[str, ...]  # what was found and is not labelled
    missed: tuple[str, ...]


def same(one: tuple[int, int], two: tuple[int, int]) -> bool:
    """Two spans are the same when each lies to more than 0.8 in the other (bigcode-dataset `pii/utils/evaluation.py`)."""
    common = min(one[1], two[1]) - max(one[0], two[0])
    return common > 0.8 * (one[1] - one[0]) and common > 0.8 * (two[1] - two[0])


def scored(reason: str, every: Iterable[tuple[Sample, Iterable[Label]]]) -> Score:
    """Precision and recall of what was found of one kind; each label can be found once."""
    wrong, missed = [], []
    right = labels = 0
    for sample, found in every:
        data = sample.text.encode()
        wanted = [one for one in sample.labels if one.reason == reason]
        ignored = [one for one in sample.labels if one.reason in IGNORED]
        labels += len(wanted)
        for span in (one for one in found if one.reason == reason):
            hit = next((one for one in wanted if same(one[:2], span[:2])), None)
            if hit is not None:
                wanted.remove(hit)
                right += 1
            elif not any(one.start < span.end and span.start < one.end for one in ignored):
                wrong.append(data[span.start : span.end].decode(errors="replace"))
        missed += [data[one.start : one.end].decode() for one in wanted]
    return Score(
        right / (right + len(wrong)) if right or wrong else 1.0,
        right / labels if labels else 1.0,
        labels,
        tuple(wrong),
        tuple(missed),
    )
