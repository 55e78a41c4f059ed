"""Texts of well-known permissive licenses that somebody made stricter: "for non-commercial purposes only", no right to sell.

What is covered: MIT, BSD, ISC, Apache and texts like theirs, with a restriction added or without a part of the grant. Such
a text is none of them, and never permissive. What is not covered: restrictions in words of their own making.
"""

from __future__ import annotations

import re

from starloom.corpus.license_texts import normalized, plain, recognize

RESTRICTED = "LicenseRef-starloom-restricted"  # a permissive license's text that was made stricter
_MODELS = frozenset(
    (
        *("0BSD", "Apache-1.1", "Apache-2.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-2-Clause-Views", "BSD-3-Clause"),
        *("BSD-4-Clause", "BSL-1.0", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MIT-open-group", "NCSA", "Unlicense"),
        *("X11", "Zlib"),
    )
)
_MIT = frozenset(("MIT", "MIT-0", "X11"))
_BSD = frozenset(("BSD-2-Clause", "BSD-2-Clause-Views", "BSD-3-Clause", "BSD-4-Clause"))
_ISC = frozenset(("0BSD", "ISC"))
_BEGINNINGS = re.compile(r"\b(?:redistributions? and use|permission is hereby granted|permission to use)\b")
_PERSON = re.compile(r"permission is hereby granted (?:free of charge )?to any person (?:or organization )?obtaining ")
_RIGHTS = re.compile(  # MIT's
    r"(?: \w+){0,40}? without (?:restriction|limitation)(?: \w+){0,20}? use(?: \w+){0,5}? copy(?: \w+){0,5}? modify"
    r"(?: \w+){0,5}? dis ?tribute(?: \w+){0,8}? (?:sell|sale)\b"
)
_FORMS = re.compile(  # BSD's, of every age
    r"redistributions? and use (?:of this software )?in (?:source and (?:or )?binary|source and or binary|any) forms?"
    r"(?: \w+){0,6}? (?:with or without (?:any )?modifications?|are permitted)"
)
_PURPOSE = re.compile(
    r"use(?: and or| or)? copy(?: and or| or)? modify(?: \w+){0,4}? distribute(?: \w+){0,12}? any purpose"
)
_ADDED = re.compile(
    r"(?<!\bor )(?<!\band )\bnon ?commercial(?:ly)?\b(?! (?:or|and) commercial)"
    r"|\bnot for (?:commercial|sale|resale|profit)\b"
    r"|\bcommercial (?:use|purposes?|usage|exploitation|redistribution) (?:\w+ ){0,3}(?:not|strictly|prohibited|forbidden|requires?)\b"
    r"|\bno commercial (?:use|usage|exploitation|redistribution)\b|\b(?:except|excluding) (?:for )?commercial\b"
    r"|\b(?:may|must|shall|can|do|does|is|are) not (?:\w+ ){0,5}?(?:sell|sold|resell|resold|sublicense|sublicensed|commercially)\b"
    r"|\bcannot (?:\w+ ){0,4}?(?:sell|sold|resold|used|modified|distributed)\b"
    r"|\b(?:may|must|shall) not (?:be )?(?:re ?distributed?|modify|modified|copy|copied|publish|published)\b"
    r"|\b(?:may|must|shall) not (?:be )?used? (?:the |this )?(?:software |code )?(?:for|by)\b"
    r"|\b(?:may|must|shall) not (?:\w+ ){0,4}?use (?:the|this) (?:software|code|program)\b"
    r"|\b(?:academic|research|educational|personal|evaluation|private|nonprofit|non profit) (?:\w+ ){0,3}?(?:use|purposes?) only\b"
    r"|\bonly (?:for|in|by) (?:\w+ )?(?:personal|academic|research|educational|evaluation|private|students)\b"
    r"|\b(?:is|are|use|distribution|redistribution|modification) (?:\w+ ){0,3}?(?:prohibited|forbidden)\b"
    r"|\bwithout (?:the |a )?(?:right|permission) to sell\b|\bnot (?:to )?(?:re ?)?sell\b|\bright to sell\b"
)
_OWN = re.compile(  # what those licenses say themselves
    r"\b(?:may|must|shall) not be used (?:in advertising|to endorse|for advertising)"
    r"|\bmay not use (?:the|this) (?:software|code|program) except in compliance"
    r"|\bother redistributions? .{0,40}prohibited"
)


def shown(text: str) -> tuple[str, ...]:
    """SPDX ids of every license in a text as `recognize` says; RESTRICTED for a permissive one that was made stricter."""
    found = recognize(text)
    return (RESTRICTED,) if made_stricter(text, frozenset(found)) else found


def made_stricter(text: str, found: frozenset[str]) -> bool:
    """Whether a text that looks like nothing but well-known permissive licenses allows less than they do."""
    if not found <= _MODELS:
        return False
    words = normalized(plain(text))
    if not found and not _BEGINNINGS.search(words):
        return False
    if found & _MIT and "permission is hereby granted" in words and "obtaining a copy of this" in words:
        persons = list(_PERSON.finditer(words))
        if not persons or not all(_RIGHTS.match(words, one.end() - 1) for one in persons):
            return True
    if found & _BSD and "redistribution" in words and "permitted" in words and not _FORMS.search(words):
        return True
    if found & _ISC and "permission to" in words and not _PURPOSE.search(words):
        return True
    return _ADDED.search(_OWN.sub(" ", words)) is not None
