"""Notices in the comments at the top of a source file: "licensed under the GPL", as a file says it of itself.

What is covered: licenses that ask for more than a notice (GNU's, Mozilla's, Eclipse's, Creative Commons', …), named behind
words that grant or bind, with the choice of a permissive one beside them. What is not covered: notices in strings of a
program, in prose, and behind the first 4,096 characters. A mention ("compatible with the GPL", "not under the GPL", "a
library which is licensed under the GPL") is no notice.
"""

from __future__ import annotations

import re
from functools import lru_cache

from starloom.corpus.language import language_of, languages
from starloom.corpus.license_changes import RESTRICTED, shown
from starloom.corpus.license_expressions import as_expression, joined, license_type, named
from starloom.corpus.license_texts import normalized

HEAD = 4096  # characters of a file in which a header is looked for; our choice
_TYPES = ("programming", "markup")
_BEFORE = 40  # characters: "distributed under the terms of the" MIT license
_CODE = ("SQL",)  # data in linguist's table
_WORDS = re.compile(
    r"general public|gpl|mozilla|\bmpl\b|eclipse public|\bepl\b|common development|common public|common(?:s|) clause"
    r"|creative ?commons|european union public|\beupl\b|server side public|business source|elastic license|open software lic"
    r"|netscape public|\bcc[ -]by|proprietary and confidential"
)  # in lower case
_LESS = re.compile(r"permission is hereby|redistribution and use|apache licen|mit licen|bsd licen|permission to use")

_LINES = r"(?:^[ \t]*(?:#|//|--|;|%|\*|!|\.\.|dnl\b|rem\b|::|@|{marks})[^\n]*\n?(?:[ \t]*\n)?)+"
_BLOCKS = r"/\*[\s\S]*?(?:\*/|\Z)|<!--[\s\S]*?(?:-->|\Z)|\{{-[\s\S]*?(?:-\}}|\Z)|\(\*[\s\S]*?(?:\*\)|\Z)|^=(?:begin|pod|head1)[\s\S]*?(?:^=(?:end|cut)|\Z)"
_OWN_MARKS = {
    "Vim script": '"', "VBA": "'", "VBScript": "'", "Visual Basic .NET": "'", "Visual Basic 6.0": "'", "BASIC": "'",
    "Smalltalk": '"', "ABAP": '"',
}  # fmt: skip
_DOCSTRING = re.compile(r"\A(?:\s|#[^\n]*\n)*[rRuUbB]{0,2}(\"\"\"|''')([\s\S]*?)(?:\1|\Z)")
_DUNDER = re.compile(r"^__licen[cs]e__[ \t]*=[ \t]*[\"']([^\"'\n]{2,80})[\"']", re.MULTILINE)
_SPDX = re.compile(r"SPDX-License-Identifier:[^\n]*")  # license.spdx_header reads it
_PLUS = re.compile(r"(\d)\+")

_GRANT = re.compile(  # in what grants there may be many words up to the name, behind "license:" few
    r"\b(?:licensed|licenced|released|distributed|redistributed|available|published|provided|covered|placed|governed|"
    r"protected|used|copied|modified|modify it|distribute it|redistribute it|offered|subject to|free software|"
    r"under the terms|under the conditions|terms of)\b(?: \w+){0,14} ?$"
    r"|\b(?:license|licensing|copyright|copying)\b(?: \w+){0,3} ?$"
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|incompatible|compatible|compatibility|than|non|without|instead of|avoid|avoids|"
    r"violate|violates|violating|conflicts?|if|unless|whether|e g|such as|like|unlike)(?: \w+){0,6}"
    r"|\b(?:rest|remainder|others?|names?|list|kinds?) of(?: \w+){0,9}"
    r"|\b(?:originally|formerly|previously)(?: \w+){0,9}"
    r"|\b(?:which|that|who) (?:is|are|was|were|has|have|uses?)(?: \w+){0,5}"
    r"|\b(?:see|says?|mentions?|about|contains?|parse|parses|detects?|text of|copy of|received a copy of|with)"
    r"(?: \w+){0,2}) ?$"
)
_GNU = re.compile(
    r"\b(?:gnu |gnus )?(?:library or )?(?:(?P<kind>lesser |library |affero )?general public license|(?P<short>[al]?gpl)(?=v?\d|\b))"
    r"(?: [al]?gpl\b)?"
)
_GNU_BEFORE = re.compile(r"\b(?:v|version |ver )(\d)(?: ([01]))?((?: or(?: \w+){1,7})?) of the ?$")
_GNU_BEHIND = re.compile(
    r"^(?: as published by the free software foundation(?: inc)?)?(?: \w+){0,3}?"
    r" ?(?:v|version |ver |versions |license |licence |)(\d)(?: ([01]))?\b(?P<rest>(?: \w+){0,12})"
)
_LATER = re.compile(r"\b(?:or|and)(?: at your option)?(?: any)? (?:later|newer|greater|above|higher)|any later version")
_KINDS = {"lesser ": "LGPL", "library ": "LGPL", "affero ": "AGPL", "lgpl": "LGPL", "agpl": "AGPL"}
_V = r"(?: license)?(?: \w{3,4})?(?: v| version | v | ver | )?(\d)(?: (\d))?\b"
_OTHERS = (  # (what names the license, its id with the version, its first version)
    (re.compile(rf"\b(?:mozilla public license(?:{_V})?|mpl{_V})"), "MPL-{}", "1.0"),
    (re.compile(rf"\bnetscape public license(?:{_V})?"), "NPL-{}", "1.0"),
    (re.compile(rf"\b(?:eclipse public license(?:{_V})?|epl{_V})"), "EPL-{}", "1.0"),
    (re.compile(rf"\bcommon development and distribution license(?:{_V})?"), "CDDL-{}", "1.0"),
    (re.compile(rf"\bcommon public license(?:{_V})?"), "CPL-{}", "1.0"),
    (re.compile(rf"\b(?:european union public license(?:{_V})?|eupl{_V})"), "EUPL-{}", "1.1"),
    (re.compile(rf"\bopen software license(?:{_V})?"), "OSL-{}", "1.0"),
    (re.compile(r"\bserver side public license()()"), "SSPL-1.0", "1.0"),
    (re.compile(r"\bbusiness source license()()"), "BUSL-1.1", "1.1"),
    (re.compile(r"\belastic license()()"), "Elastic-2.0", "2.0"),
    (re.compile(r"\bcommons clause()()"), "LicenseRef-Commons-Clause", "1.0"),
)
_COMMONS = re.compile(
    r"\b(?:creative commons attribution|creativecommons org licenses by|cc by)"
    r"(?P<nc> noncommercial| non commercial| nc)?(?: (?P<kind>share ?alike|sa|no ?derivs|no ?derivatives|nd))?"
    r"(?: v| version)? ?(?P<major>\d) (?P<minor>\d)"
)
_SECRET = re.compile(r"\bproprietary and confidential\b")
_CHOICE = re.compile(
    r"\bdual(?:ly)?(?: \w+){0,3} licen|\btri(?:ple)? licen|\balternatively\b|choose between|\bat your choice"
    r"|under (?:the terms of )?(?:either|one of|any of) "
    r"|\b(?:mit|bsd|x11|apache|license|gpl|lgpl|mpl)(?: \d){0,2} or (?:the )?(?:gnu|gpl|lgpl|agpl|mit|bsd|apache|mpl|mozilla)\b"
)
_NAMED = re.compile(r"\b(?:licensed|dual|under|or|and)(?: the)? (mit|bsd|apache)\b")  # one that may be chosen
_SHORT = {"mit": "MIT", "bsd": "LicenseRef-BSD-unspecified", "apache": "Apache-2.0"}


def notice(path: bytes, text: str, permissive_too: bool = False) -> str | None:
    """The expression of the licenses that a source file's own comments put it under; None where they name none.

    Only licenses that are not permissive are looked for, with those that may be chosen in their place; with
    `permissive_too` any.
    """
    head = text[:HEAD]
    lower = head.lower()
    if _WORDS.search(lower) is None and not (permissive_too and _LESS.search(lower)):
        return None
    language = language_of(path, text).value
    if language is None or not (languages()[language] in _TYPES or language in _CODE):
        return None
    found: list[str] = []
    for comment in _comments(_SPDX.sub("", head), language):
        passage = " ".join(comment.split())
        lower = passage.lower()
        if _WORDS.search(lower) is None:  # what is left is the same in all files of a project, but for its end
            less = _LESS.search(lower) if permissive_too else None
            if less is None:
                continue
            passage = passage[max(0, less.start() - _BEFORE) :]
        one = _passage(passage, permissive_too)
        found += [one] if one is not None else []
    for stated in _DUNDER.findall(head):
        one = as_expression(stated) or named(stated)
        found += [one] if one is not None and (permissive_too or license_type(one) != "permissive") else []
    return joined(found, "AND")


def _comments(head: str, language: str) -> list[str]:
    """Comments and the docstring of a file's head; comments on lines that follow each other are one."""
    marks = re.escape(_OWN_MARKS.get(language, "#"))
    pattern = _BLOCKS.format() + "|" + _LINES.format(marks=marks)
    found = [match[0] for match in re.finditer(pattern, head, re.MULTILINE | re.IGNORECASE)]
    docstring = _DOCSTRING.match(head) if language in ("Python", "Cython", "Starlark") else None
    return found if docstring is None else [*found, docstring[2]]


@lru_cache(8192)
def _passage(passage: str, permissive_too: bool) -> str | None:
    """What one comment puts its file under."""
    words = normalized(_PLUS.sub(r"\1 or later ", passage))
    binding = sorted(_binding(words))
    if not binding and not permissive_too:
        return None
    texts = shown(passage)
    binding += [RESTRICTED] if RESTRICTED in texts else []
    less = [name for name in texts if license_type(name) == "permissive"]
    if not binding:
        return joined(less, "AND")
    choice = _CHOICE.search(words) is not None
    if choice and not less:
        less = sorted({_SHORT[name] for name in _NAMED.findall(words)})
    return joined([*less, *binding], "OR" if choice else "AND")


def _binding(words: str) -> set[str]:
    """Ids of the licenses that are not permissive and are granted; one without a version only where none has one."""
    found: set[str] = set()
    vague: set[str] = set()
    for match in _GNU.finditer(words):
        before = words[max(0, match.start() - 200) : match.start()]
        behind = words[match.end() : match.end() + 250]
        if _granted(before, behind):
            name, version = _gnu(match, before, behind)
            (found if version else vague).add(name)
    for pattern, name, first in _OTHERS:
        for match in pattern.finditer(words):
            if _granted(words[max(0, match.start() - 200) : match.start()], words[match.end() : match.end() + 20]):
                numbers = [one for one in match.groups() if one]
                versioned = as_expression(name.format(f"{numbers[0]}.{(numbers[1:] or [0])[0]}")) if numbers else None
                (found if versioned else vague).add(versioned or name.format(first))
    for match in _COMMONS.finditer(words):
        if _granted(words[max(0, match.start() - 200) : match.start()], ""):
            parts = [
                "CC-BY",
                "NC" if match["nc"] else "",
                {"s": "SA", "n": "ND"}.get((match["kind"] or " ").strip()[:1], ""),
            ]
            found.add("-".join(part for part in parts if part) + f"-{match['major']}.{match['minor']}")
    if _SECRET.search(words):
        found.add("LicenseRef-proprietary")
    found |= {name for name in vague if not any(one.partition("-")[0] == name.partition("-")[0] for one in found)}
    return {name for name in found if license_type(name) != "permissive"}


def _granted(before: str, behind: str) -> bool:
    """Whether the words before a license's name put the file under it."""
    if _GRANT.search(before) is None or re.match(r" ?(?:compatible|incompatible|like|style|exception)\b", behind):
        return False
    return _DENIED.search(before.removesuffix("gnu ").removesuffix("the ")) is None


def _gnu(match: re.Match[str], before: str, behind: str) -> tuple[str, bool]:
    """The id, and whether it has a version of its own."""
    family = _KINDS.get(match["kind"] or match["short"] or "", "GPL")
    version = _GNU_BEFORE.search(before) or _GNU_BEHIND.match(behind)
    if version is not None:
        later = "or-later" if _LATER.search(version[3]) else "only"
        if (name := as_expression(f"{family}-{version[1]}.{version[2] or 0}-{later}")) is not None:
            return name, True
    return f"{family}-{'2.0' if family == 'LGPL' else '1.0'}-or-later", False  # the first of its kind
