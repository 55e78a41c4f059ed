"""License texts recognized by phrases that are theirs alone, whatever the line breaks, quotes and comment marks.

What is covered: the licenses that nearly all public code is under, several in one file, notices that point to one.
What is not covered: changed wording (such a text is not recognized, never mistaken for another), other languages.
Each phrase is a characteristic piece of the license's own text.
"""

from __future__ import annotations

import re
from collections import Counter

from starloom.corpus.html_text import visible_text
from starloom.corpus.license_expressions import as_expression, family, ids, named
from starloom.corpus.license_grams import (
    WHOLE,
    covered,
    grams,
    known_texts,
    matching_texts,
    noticed,
    own_share,
    words_of,
)
from starloom.corpus.license_variants import bsd, hpnd, isc, mit

LONGEST_TEXT = 1 << 20  # characters looked at; the longest bundles of licenses have a few hundred thousand

_ZLIB = "altered source versions must be plainly marked as such"

# (SPDX id, phrase): the phrase alone is enough
_PHRASES = (
    ("AFL-1.1", "academic free license version 1 1"),
    ("AFL-1.2", "academic free license version 1 2"),
    ("AFL-2.0", "academic free license v 2 0"),
    ("AFL-2.0", "academic free license version 2 0"),
    ("AFL-2.1", "academic free license v 2 1"),
    ("AFL-2.1", "academic free license version 2 1"),
    ("AFL-3.0", "academic free license afl v 3 0"),
    ("AFL-3.0", "academic free license v 3 0"),
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
    ("CPL-1.0", "common public license version 1 0"),
    ("CPL-1.0", "common public license v 1 0"),
    ("ECL-2.0", "educational community license version 2 0"),
    ("EPL-1.0", "eclipse public license v 1 0"),
    ("EPL-2.0", "eclipse public license v 2 0"),
    ("EUPL-1.1", "european union public license v 1 1"),
    ("EUPL-1.2", "european union public license v 1 2"),
    ("Elastic-2.0", "elastic license 2 0"),
    ("FTL", "the freetype license found in the file"),
    ("FTL", "the freetype project license"),
    ("GPL-1.0-only", "gnu general public license version 1 february 1989"),
    ("GPL-2.0-only", "gnu general public license version 2 june 1991"),
    ("GPL-2.0-only", "gnu general public license gpl version 2 june 1991"),
    ("GPL-3.0-only", "gnu general public license version 3 29 june 2007"),
    ("JSON", "the software shall be used for good not evil"),
    ("LGPL-2.0-only", "gnu library general public license version 2 june 1991"),
    ("LGPL-2.1-only", "gnu lesser general public license version 2 1 february 1999"),
    ("LGPL-3.0-only", "gnu lesser general public license version 3 29 june 2007"),
    ("LicenseRef-Commons-Clause", "commons clause license condition"),
    ("Libpng", "the png reference library"),
    ("MPL-1.1", "mozilla public license version 1 1"),
    ("MPL-2.0", "mozilla public license version 2 0"),
    ("MPL-2.0", "mozilla public license 2 0"),
    ("MPL-2.0", "mozilla public license v 2 0"),
    ("MPL-2.0", "mozilla public license mpl v 2 0"),
    ("MS-PL", "microsoft public license ms pl"),
    ("MulanPSL-2.0", "mulan permissive software license version 2"),
    ("NCSA", "university of illinois ncsa open source license"),
    ("NPL-1.1", "netscape public license version 1 1"),
    ("OFL-1.1", "sil ofl 1 1"),
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

_GNU = r"gnu (lesser |library |affero )?general public licen[cs]e"
_LATER = re.compile(
    _GNU + r"(?: as published by the free software foundation)?(?: either)? (?:v|version )(\d)(?: (\d))?(?: \d+)*?"
    r" (?:of the licen[cs]e )?or (?:later|at your option any later version)"
)
_ONLY = re.compile(
    r"(?:terms of|under|by) the " + _GNU + r"(?: gpl)? (?:v|version )(\d)(?: (\d))?(?: only)?(?! or| of the| \d| and)"
)
_ANY = re.compile(r"(?:under|by) the (?:terms of the )?" + _GNU + r"\b(?! version| v\d| \d)")
_CREATIVE_COMMONS = re.compile(
    r"creative commons attribution (noncommercial |non commercial )?(sharealike |share alike |noderivatives |noderivs )?(\d) (\d)"
)
_COMMONS_ADDRESS = re.compile(r"creativecommons org licenses by( nc)?(?: (sa|nd))? (\d) (\d)")
_NAMED_FILES = (
    ("license apache", "Apache-2.0"),
    ("license bsd", "BSD-3-Clause"),
    ("license mit", "MIT"),
)  # "the licenses found in LICENSE.APACHE or LICENSE.BSD"
_PUBLIC_DOMAIN = "LicenseRef-scancode-public-domain"
_INTO_PUBLIC_DOMAIN = re.compile(r"(?:in|into|to) the public domain(?! worldwide| dedication| no restrictions)")
_STATED = (
    (
        re.compile(
            r"(?:licensed|released|distributed|available) (?:under|on) (?:the )?(?:terms of )?(?:the )?mit licen[cs]e"
        ),
        "MIT",
    ),
    (re.compile(r"\b(?:2|two) clause bsd|bsd (?:2|two) clause|simplified bsd licen[cs]e"), "BSD-2-Clause"),
    (re.compile(r"\b(?:3|three) clause bsd|bsd (?:3|three) clause|(?:new|modified) bsd licen[cs]e"), "BSD-3-Clause"),
    (re.compile(r"licensed under (?:the )?apache (?:license )?(?:v|version )?2\b"), "Apache-2.0"),
    (re.compile(r"(?:under|by|of) the apache (?:software )?licen[cs]e (?:v|version )?2\b"), "Apache-2.0"),
    (re.compile(r"creativecommons org publicdomain zero 1 0"), "CC0-1.0"),
    (_INTO_PUBLIC_DOMAIN, _PUBLIC_DOMAIN),
)
_MODELS = (  # texts that many others quote whole; a phrase knows their variants better
    {"BSD-1-Clause", "BSD-2-Clause", "BSD-2-Clause-Views", "BSD-3-Clause", "BSD-4-Clause"},
    {"LicenseRef-scancode-xfree86-1.0", "MIT", "MIT-0", "MIT-open-group", "X11"},
    {"HPND", "MIT-CMU", "NTP"},
    {"0BSD", "ISC"},
    {"Zlib"},
)
_VARIANT = 0.95  # share of a license's text that must be there to take the place of what phrases saw; our choice
_A_NAME = 40  # characters: a file that says no more than "Apache 2.0"
_GNU_NAME = re.compile(r"[AL]?GPL-")
_LINE = re.compile(
    r"^[ \t#*/;-]{0,8}(?:(?:SPDX-License-Identifier|License|license_expression):[ \t]*([^\n]{2,120})"
    r"|\"license(?:Id|_expression)?\": ?\"([^\n\"]{2,120})\",?)$",
    re.MULTILINE,
)
_PAGE = re.compile(r"\s*<(?:!doctype html|html)\b", re.IGNORECASE)


def normalized(text: str) -> str:
    """Lower-case words and numbers with one space between them: comment marks, quotes and line breaks vanish."""
    words = " ".join(re.findall(r"[a-z0-9]+", text[:LONGEST_TEXT].lower()))
    return words.replace("licence", "license")  # one spelling of the two


def recognize(text: str) -> tuple[str, ...]:
    """SPDX ids of every license in a text, sorted; none where nothing is recognized.

    Phrases come first: they hold through changes of wording. Variants that differ by one clause are told apart by how
    often the common phrase and the clause occur. A text that lies there whole and that no phrase named (most licenses
    quote one of the well-known ones) is taken out, and the phrases are asked about the rest.
    """
    text = plain(text)
    found = _by_phrases(normalized(text)) | _named_lines(text)
    words, runs = words_of(text), grams(text)
    families = {family(name.partition(" ")[0]) for name in found}
    named_ = [name for name in known_texts() if family(name) in families]
    whole = {
        name
        for name, share in matching_texts(runs).items()
        if share >= _VARIANT
        and not any(name in group for group in _MODELS)
        and (family(name) in families or own_share(runs, name, named_) >= WHOLE)
    }
    taken = covered(words, runs, whole)
    if whole:
        rest = _by_phrases(" ".join(word for word, hidden in zip(words, taken, strict=True) if not hidden))
        quoted = {name for group in _MODELS if not group & rest for name in group}
        found = (found - quoted) | {name for name in whole if family(name) not in families}
    families = {family(name.partition(" ")[0]) for name in found}
    taken |= covered(words, runs, [name for name in known_texts() if family(name) in families], least=0)
    if _PUBLIC_DOMAIN in found:
        rest_words = " ".join(word for word, hidden in zip(words, taken, strict=True) if not hidden)
        if not _INTO_PUBLIC_DOMAIN.search(rest_words):  # licenses speak of it too
            found.discard(_PUBLIC_DOMAIN)
    notices = {name for name in noticed(words, runs, taken) if family(name) not in families}
    if any(_GNU_NAME.match(name) for name in families):
        notices = {name for name in notices if not _GNU_NAME.match(name)}  # pieces of one stand in the others
    found |= notices
    families = {family(name.partition(" ")[0]) for name in found}
    named_ = [name for name in known_texts() if family(name) in families]
    beside = {name for name in matching_texts(runs, named_) if own_share(runs, name, named_) >= WHOLE}
    return tuple(sorted(found | {name for name in beside if family(name) not in families}))


def plain(text: str) -> str:
    """The words of a license without what carries them: HTML, the escapes of JSON, the mark before each line."""
    text = text[:LONGEST_TEXT]
    if _PAGE.match(text):
        return visible_text(text)
    if text.count("\\n") > text.count("\n"):
        text = text.replace("\\r", " ").replace("\\n", "\n").replace('\\"', '"')
    lines = [line.split(maxsplit=1) for line in text.split("\n")]
    marks = Counter(words[0] for words in lines if words)
    mark, number = marks.most_common(1)[0] if marks else ("", 0)
    if number >= 2 and number > 0.8 * sum(marks.values()) and not mark.isalnum():
        text = "\n".join(" ".join(words[words[:1] == [mark] :]) for words in lines)
    return text


def _by_phrases(words: str) -> set[str]:
    found = {name for name, phrase in _PHRASES if phrase in words}
    found |= mit(words) | bsd(words) | isc(words) | hpnd(words) | _gnu_notices(words, found)
    if _ZLIB in words and "Libpng" not in found:
        found.add("Zlib")
    for noncommercial, kind, major, minor in _CREATIVE_COMMONS.findall(words) + _COMMONS_ADDRESS.findall(words):
        parts = ["CC-BY", "NC" if noncommercial else "", {"s": "SA", "n": "ND"}.get(kind[:1], "")]
        found.add("-".join(part for part in parts if part) + f"-{major}.{minor}")
    exceptions = words.count("llvm exceptions to the apache 2 0 license")
    if exceptions:
        found.add("Apache-2.0 WITH LLVM-exception")
        if words.count("apache license version 2 0 january 2004") <= exceptions:
            found.discard("Apache-2.0")
    if "PSF-2.0" in found and "beopen python open source license agreement version 1" in words:
        found -= {"HPND", "PSF-2.0"}  # Python's own license holds those of its past
        found.add("Python-2.0")
    found |= {name for pattern, name in _STATED if pattern.search(words)}
    if not found or "licenses found in license" in words:
        found |= {name for phrase, name in _NAMED_FILES if phrase in words}
    if not found and len(words) < _A_NAME and (stated := named(words)) is not None:
        found = set(ids(stated))
    return found


def _gnu_notices(words: str, found: set[str]) -> set[str]:
    """Notices of a GNU license and its version, but where that license's own text shows how such a notice looks."""
    family = {"": "GPL", "lesser ": "LGPL", "library ": "LGPL", "affero ": "AGPL"}
    noticed: set[str] = set()
    for pattern, ending in ((_LATER, "or-later"), (_ONLY, "only")):
        for kind, major, minor in pattern.findall(words):
            version = f"{family[kind]}-{major}.{minor or '0'}"
            texts = any(name.startswith(("GPL", "LGPL", "AGPL")) for name in found)
            if not any(name.startswith(version) for name in found | noticed) and (ending == "or-later" or not texts):
                noticed.add(f"{version}-{ending}")
    for kind in _ANY.findall(words) if not found else ():  # a mention beside a license is none
        if not any(name.startswith(f"{family[kind]}-") for name in found | noticed):
            noticed.add(
                f"{family[kind]}-{'2.0' if family[kind] == 'LGPL' else '1.0'}-or-later"
            )  # the first of its kind
    return noticed


def _named_lines(text: str) -> set[str]:
    """Ids behind `License:` and `SPDX-License-Identifier:` lines, as lists of bundled software have them."""
    expressions = (as_expression((one or other).strip()) for one, other in _LINE.findall(text[:LONGEST_TEXT]))
    return {name for expression in expressions if expression is not None for name in ids(expression)}
