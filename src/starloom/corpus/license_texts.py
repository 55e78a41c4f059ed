"""License texts recognized by phrases that are theirs alone, whatever the line breaks, quotes and comment marks.

What is covered: the licenses that nearly all public code is under, several in one file, notices that point to one.
What is not covered: changed wording (such a text is not recognized, never mistaken for another), other languages.
Each phrase is a characteristic piece of the license's own text.
"""

from __future__ import annotations

import re

LONGEST_TEXT = 1 << 20  # characters looked at; the longest bundles of licenses have a few hundred thousand

_MIT = "permission is hereby granted free of charge to any person obtaining a copy of this software and associated"
_BSD = "redistribution and use in source and binary forms with or without modification are permitted"
_ISC = (
    r"permission to use copy modify and (?:or )?distribute this software for any purpose with or without fee is hereby"
)
_HPND = (
    "permission to use copy modify and distribute this software and its documentation for any purpose and without fee"
)
_ZLIB = "altered source versions must be plainly marked as such"

# (SPDX id, phrase): the phrase alone is enough
_PHRASES = (
    ("AFL-3.0", "academic free license version 3 0"),
    ("AGPL-3.0-only", "gnu affero general public license version 3 19 november 2007"),
    ("Apache-1.1", "the apache software license version 1 1"),
    ("Apache-2.0", "apache license version 2 0 january 2004"),
    ("Apache-2.0", "licensed under the apache license version 2 0"),
    ("Artistic-1.0", "the artistic license preamble the intent of this document"),
    ("Artistic-2.0", "the artistic license 2 0"),
    ("BSL-1.0", "boost software license version 1 0"),
    ("BUSL-1.1", "business source license 1 1"),
    ("BlueOak-1.0.0", "blue oak model license version 1 0 0"),
    ("CC0-1.0", "cc0 1 0 universal"),
    ("CDDL-1.0", "common development and distribution license cddl version 1 0"),
    ("CDDL-1.1", "common development and distribution license cddl version 1 1"),
    ("ECL-2.0", "educational community license version 2 0"),
    ("EPL-1.0", "eclipse public license v 1 0"),
    ("EPL-2.0", "eclipse public license v 2 0"),
    ("EUPL-1.1", "european union public licence v 1 1"),
    ("EUPL-1.2", "european union public licence v 1 2"),
    ("Elastic-2.0", "elastic license 2 0"),
    ("GPL-1.0-only", "gnu general public license version 1 february 1989"),
    ("GPL-2.0-only", "gnu general public license version 2 june 1991"),
    ("GPL-3.0-only", "gnu general public license version 3 29 june 2007"),
    ("JSON", "the software shall be used for good not evil"),
    ("LGPL-2.0-only", "gnu library general public license version 2 june 1991"),
    ("LGPL-2.1-only", "gnu lesser general public license version 2 1 february 1999"),
    ("LGPL-3.0-only", "gnu lesser general public license version 3 29 june 2007"),
    ("LicenseRef-Commons-Clause", "commons clause license condition"),
    ("Libpng", "the png reference library"),
    ("MPL-1.1", "mozilla public license version 1 1"),
    ("MPL-2.0", "mozilla public license version 2 0"),
    ("MS-PL", "microsoft public license ms pl"),
    ("MulanPSL-2.0", "mulan permissive software license version 2"),
    ("NCSA", "university of illinois ncsa open source license"),
    ("OFL-1.1", "sil open font license version 1 1"),
    ("PSF-2.0", "python software foundation license version 2"),
    ("PostgreSQL", "documentation for any purpose without fee and without a written agreement is hereby granted"),
    ("SSPL-1.0", "server side public license version 1 october 16 2018"),
    ("UPL-1.0", "universal permissive license upl version 1 0"),
    ("Unicode-3.0", "unicode license v3"),
    ("Unicode-DFS-2016", "unicode inc license agreement data files and software"),
    ("Unlicense", "this is free and unencumbered software released into the public domain"),
    ("WTFPL", "do what the fuck you want to public license"),
    ("ZPL-2.1", "zope public license zpl version 2 1"),
)

_LATER = re.compile(
    r"gnu (lesser |library |affero )?general public license(?: as published by the free software foundation)?"
    r" (?:either )?version (\d)(?: (\d))?(?: \d+)*? (?:of the license )?or at your option any later version"
)
_CREATIVE_COMMONS = re.compile(
    r"creative commons attribution (noncommercial |non commercial )?(sharealike |share alike |noderivatives |noderivs )?(\d) (\d)"
)
_NOTICE = re.compile(
    r"(?:licensed|released|distributed|available) under (?:the )?(?:terms of )?(?:the )?mit licen[cs]e"
)


def normalized(text: str) -> str:
    """Lower-case words and numbers with one space between them: comment marks, quotes and line breaks vanish."""
    return " ".join(re.findall(r"[a-z0-9]+", text[:LONGEST_TEXT].lower()))


def recognize(text: str) -> tuple[str, ...]:
    """SPDX ids of every license in a text, sorted; none where nothing is recognized.

    Variants that differ by one clause are told apart by how often the common phrase and the clause occur.
    """
    words = normalized(text)
    found = {name for name, phrase in _PHRASES if phrase in words}
    found |= _mit(words) | _bsd(words) | _isc(words) | _hpnd(words) | _gnu_notices(words, found)
    if _ZLIB in words and "Libpng" not in found:
        found.add("Zlib")
    for noncommercial, kind, major, minor in _CREATIVE_COMMONS.findall(words):
        parts = ["CC-BY", "NC" if noncommercial else "", {"s": "SA", "n": "ND"}.get(kind[:1], "")]
        found.add("-".join(part for part in parts if part) + f"-{major}.{minor}")
    exceptions = words.count("llvm exceptions to the apache 2 0 license")
    if exceptions:
        found.add("Apache-2.0 WITH LLVM-exception")
        if words.count("apache license version 2 0 january 2004") <= exceptions:
            found.discard("Apache-2.0")
    if "PSF-2.0" in found and "beopen python open source license agreement version 1" in words:
        found -= {"0BSD", "HPND"}  # Python's own license holds the licenses of its past, and of its documentation
    if not found and _NOTICE.search(words):
        found.add("MIT")
    return tuple(sorted(found))


def _mit(words: str) -> set[str]:
    grants = words.count(_MIT)
    if not grants:
        return set()
    notices = words.count("this permission notice shall be included in all copies or substantial portions")
    notices += words.count("this permission notice including the next paragraph shall be included in all copies or")
    x11 = words.count("shall not be used in advertising or otherwise to promote the sale use or other dealings")
    found = {"X11"} if x11 else set()
    if grants > notices:
        found.add("MIT-0")
    if notices > x11:
        found.add("MIT")
    return found


def _bsd(words: str) -> set[str]:
    grants = words.count(_BSD)
    if not grants:
        return set()
    advertising = words.count("all advertising materials mentioning features or use of this software")
    endorsement = len(re.findall(r"(?:endorse|endorse or|or) promote products derived from", words))
    found = {"BSD-4-Clause"} if advertising else set()
    if endorsement > advertising:
        found.add("BSD-3-Clause")
    if grants > max(endorsement, advertising):
        found.add("BSD-2-Clause")
    return found


def _isc(words: str) -> set[str]:
    grants = len(re.findall(_ISC, words))
    kept = len(re.findall(_ISC + r" granted provided that the above copyright notice", words))
    return ({"ISC"} if kept else set()) | ({"0BSD"} if grants > kept else set())


def _hpnd(words: str) -> set[str]:
    grants = words.count(_HPND)
    agreed = words.count("you have read understood and will comply with the following terms and conditions permission")
    found = {"MIT-CMU"} if grants and agreed else set()
    return found | ({"HPND"} if grants > agreed else set())


def _gnu_notices(words: str, found: set[str]) -> set[str]:
    """`or any later version` notices, where the license's text, whose last page shows such a notice, is not there."""
    family = {"": "GPL", "lesser ": "LGPL", "library ": "LGPL", "affero ": "AGPL"}
    noticed = set()
    for kind, major, minor in _LATER.findall(words):
        if not any(name.startswith(("GPL", "LGPL", "AGPL")) for name in found):
            noticed.add(f"{family[kind]}-{major}.{minor or '0'}-or-later")
    return noticed
