"""Licenses that differ from one another by a clause: MIT and X11, the BSD ones, ISC, HPND.

What is covered: files with several of them. The common phrase and each clause are counted, which tells how many texts
of each variant there are. What is not covered: which of the texts is whose.
"""

from __future__ import annotations

import re

_MIT = "permission is hereby granted free of charge to any person obtaining a copy of this software and associated"
_BSD = "redistribution and use in source and binary forms with or without modification are permitted"
_ISC = (
    r"permission to use copy modify and (?:or )?distribute this software for any purpose with or without fee is hereby"
)
_HPND = (
    "permission to use copy modify and distribute this software and its documentation for any purpose and without fee"
)
_X11 = re.compile(r"in the software except as contained in this notice the names? (.{1,80}?) shall not be used")
_X11_HOLDERS = (  # whose name it is tells the variant
    (re.compile(r"of (?:the open group|(?:the )?copyright holders)"), "MIT-open-group"),
    (
        re.compile(r"of the (?:xfree86 project(?! inc)|authors or their institutions|copyright holder s and author s)"),
        "LicenseRef-scancode-xfree86-1.0",
    ),
)
_HPND_HOLDER = re.compile(_HPND + r".{1,300}? names? of (.{1,80}?) not be used in advertising")
_HPND_HOLDERS = ((re.compile(r"(?:cmu|carnegie mellon)\b.*"), "MIT-CMU"), (re.compile(r"m i t"), "NTP"))
_ONE_CLAUSE = re.compile(
    r"redistributions? of source code must retain the above copyright notice this list of conditions and the following"
    r" disclaimer (?:this|the) software is provided"
)
_OPENSSL = "this product includes software developed by the openssl project for use in the openssl toolkit http www openssl org 4"
_SSLEAY = "this product includes cryptographic software written by eric young"
_VIEWS = (
    "the views and conclusions contained in the software and documentation are those of the authors and should not be"
)


def mit(words: str) -> set[str]:
    grants = words.count(_MIT) - words.count("university of illinois ncsa open source license")  # which grants so too
    grants -= words.count("furnished to do so provided that the above copyright notice")  # ICU
    if grants <= 0:
        return set()
    notices = words.count("this permission notice shall be included in all copies or substantial portions")
    notices += words.count("this permission notice including the next paragraph shall be included in all copies or")
    x11 = [
        next((name for pattern, name in _X11_HOLDERS if pattern.fullmatch(holder)), "X11")
        for holder in _X11.findall(words)
    ]
    found = set(x11)
    if grants > notices:
        found.add("MIT-0")
    if notices > len(x11):
        found.add("MIT")
    return found


def bsd(words: str) -> set[str]:
    grants = words.count(_BSD)
    if not grants:
        return set()
    advertising = words.count("all advertising materials mentioning features or use of this software")
    endorsement = len(re.findall(r"(?:endorse|endorse or|or) promote products derived from", words))
    unchanged = words.count("in this position and unchanged")
    project, young = words.count(_OPENSSL), words.count(_SSLEAY)  # both have a license of their own
    advertising -= project + young
    endorsement -= project
    grants -= unchanged + project + young  # the first is listed apart by ScanCode
    found = {"BSD-4-Clause"} if advertising > 0 else set()
    if project or young:
        found.add("OpenSSL" if project and young else "OpenSSL-standalone" if project else "SSLeay-standalone")
    if unchanged:
        found.add("LicenseRef-scancode-bsd-unchanged")
    if endorsement > advertising:
        found.add("BSD-3-Clause")
    if grants > max(endorsement, advertising):
        one, views = len(_ONE_CLAUSE.findall(words)), words.count(_VIEWS)
        found |= ({"BSD-1-Clause"} if one else set()) | ({"BSD-2-Clause-Views"} if views else set())
        if grants - max(endorsement, advertising) > one + views:
            found.add("BSD-2-Clause")
    return found


def isc(words: str) -> set[str]:
    grants = len(re.findall(_ISC, words))
    kept = len(re.findall(_ISC + r" granted provided that the above copyright notice", words))
    return ({"ISC"} if kept else set()) | ({"0BSD"} if grants > kept else set())


def hpnd(words: str) -> set[str]:
    grants = words.count(_HPND)
    agreed = words.count("you have read understood and will comply with the following terms and conditions permission")
    found = {"MIT-CMU"} if grants and agreed else set()
    holders = _HPND_HOLDER.findall(words) if grants else []
    other = [name for holder in holders for pattern, name in _HPND_HOLDERS if pattern.fullmatch(holder)]
    return found | set(other) | ({"HPND"} if grants > agreed + len(other) else set())
