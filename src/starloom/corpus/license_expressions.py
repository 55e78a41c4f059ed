"""SPDX expressions: reading what people write, comparing, and what an expression allows."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Literal

LicenseType = Literal["permissive", "no_license", "non_permissive"]  # The Stack v2's three types
LICENSE_TYPES: tuple[LicenseType, ...] = ("permissive", "no_license", "non_permissive")
UNRECOGNIZED = "LicenseRef-starloom-unrecognized"  # there is a license file, and it is none that we know
_LONGEST = 2000  # characters of an expression; deeper ones are hostile, our choice

# Names that package metadata uses for a license, in lower case without "license" and punctuation.
_NAMES = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2 0": "Apache-2.0",
    "apache software": "Apache-2.0",
    "apache software 2 0": "Apache-2.0",
    "apache version 2 0": "Apache-2.0",
    "asl 2 0": "Apache-2.0",
    "agpl v3": "AGPL-3.0-only",
    "agplv3": "AGPL-3.0-only",
    "gnu affero general public v3": "AGPL-3.0-only",
    "gnu affero general public v3 or later agplv3": "AGPL-3.0-or-later",
    "boost software 1 0 bsl 1 0": "BSL-1.0",
    "bsd": "LicenseRef-BSD-unspecified",
    "2 clause bsd": "BSD-2-Clause",
    "bsd 2 clause": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "freebsd": "BSD-2-Clause",
    "3 clause bsd": "BSD-3-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "cc0": "CC0-1.0",
    "cc0 1 0 universal cc0 1 0 public domain dedication": "CC0-1.0",
    "eclipse public 1 0 epl 1 0": "EPL-1.0",
    "eclipse public 2 0 epl 2 0": "EPL-2.0",
    "gpl": "LicenseRef-GPL-unspecified",
    "gnu general public gpl": "LicenseRef-GPL-unspecified",
    "gplv2": "GPL-2.0-only",
    "gpl v2": "GPL-2.0-only",
    "gplv2 with linking exception": "LicenseRef-GPL-unspecified",
    "gnu general public v2 gplv2": "GPL-2.0-only",
    "gnu general public v2 or later gplv2": "GPL-2.0-or-later",
    "gplv3": "GPL-3.0-only",
    "gpl v3": "GPL-3.0-only",
    "gnu general public v3 gplv3": "GPL-3.0-only",
    "gnu general public v3 or later gplv3": "GPL-3.0-or-later",
    "historical permission notice and disclaimer hpnd": "HPND",
    "isc": "ISC",
    "isc iscl": "ISC",
    "lgpl": "LicenseRef-LGPL-unspecified",
    "gnu lesser general public v2 lgplv2": "LGPL-2.0-only",
    "gnu lesser general public v2 or later lgplv2": "LGPL-2.0-or-later",
    "gnu lesser general public v3 lgplv3": "LGPL-3.0-only",
    "gnu lesser general public v3 or later lgplv3": "LGPL-3.0-or-later",
    "gnu library or lesser general public lgpl": "LicenseRef-LGPL-unspecified",
    "mit": "MIT",
    "expat": "MIT",
    "mit no attribution mit 0": "MIT-0",
    "mozilla public 1 1 mpl 1 1": "MPL-1.1",
    "mozilla public 2 0 mpl 2 0": "MPL-2.0",
    "mpl 2 0": "MPL-2.0",
    "mpl2": "MPL-2.0",
    "other proprietary": "LicenseRef-proprietary",
    "proprietary": "LicenseRef-proprietary",
    "psf": "PSF-2.0",
    "psfl": "PSF-2.0",
    "python software foundation": "PSF-2.0",
    "public domain": "LicenseRef-scancode-public-domain",
    "the unlicense": "Unlicense",
    "the unlicense unlicense": "Unlicense",
    "unlicense": "Unlicense",
    "w3c": "W3C",
    "zlib": "Zlib",
    "zlib libpng": "Zlib",
    "zope public": "ZPL-2.1",
}
_UNSPECIFIED = {
    "LicenseRef-BSD-unspecified": "BSD-",
    "LicenseRef-GPL-unspecified": "GPL-",
    "LicenseRef-LGPL-unspecified": "LGPL-",
}


@cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def _parse(text: str, validate: bool) -> Any:
    """A parsed expression, or None."""
    from license_expression import ExpressionError, ParseError

    if len(text) > _LONGEST:
        return None
    try:
        return _licensing().parse(text, validate=validate)
    except (ExpressionError, ParseError, RecursionError):
        return None


@lru_cache(4096)
def as_expression(text: str) -> str | None:
    """An SPDX expression in its one spelling (`mit or apache-2.0` → `MIT OR Apache-2.0`); None for what is none."""
    words = " ".join(text.split())
    if not words:
        return None
    references = re.sub(r"LicenseRef-[A-Za-z0-9.-]+", "MIT", words)  # ids of one's own are sound anywhere
    if _parse(references, validate=True) is None:
        return None
    parsed = _parse(words, validate=False)
    return None if parsed is None else str(parsed.render("{symbol.key}"))


def named(name: str) -> str | None:
    """The SPDX expression behind a license's name as package metadata spells it; None for an unknown one."""
    if len(name) > 200:
        return None
    words = re.findall(r"[a-z0-9]+", name.lower())
    left = " ".join(
        word for word in words if word not in ("license", "licence", "the", "licensed", "under", "osi", "approved")
    )
    return _NAMES.get(" ".join(words)) or _NAMES.get(left)


@lru_cache(4096)
def ids(expression: str) -> frozenset[str]:
    """Every license id in an expression, exceptions left out."""
    parsed = _parse(expression, validate=False)
    if parsed is None:
        return frozenset([expression])
    return frozenset(str(getattr(symbol, "license_symbol", symbol).key) for symbol in _symbols(parsed))


def _symbols(parsed: Any) -> list[Any]:
    return list(_licensing().license_symbols(parsed, unique=True, decompose=False))


def family(name: str) -> str:
    """`GPL-3.0-only`, `GPL-3.0-or-later` and `GPL-3.0+` are one text."""
    return re.sub(r"(-only|-or-later|\+)$", "", name)


def explained(name: str, expression: str) -> bool:
    """Whether an expression already names a license that was found in a text."""
    return all(family(one) in {family(other) for other in ids(expression)} for one in ids(name))


def combined(stated: list[str], found: list[str]) -> str | None:
    """One expression for what metadata states and what texts show: where they differ, all of it must be obeyed.

    A statement that leaves the variant open (`BSD`) is settled by a text of that family, one that nobody understands
    by any text.
    """
    kept = []
    for statement in dict.fromkeys(one for one in stated if one != UNRECOGNIZED):
        prefix = _UNSPECIFIED.get(statement)
        if prefix is None or not any(name.startswith(prefix) for name in found):
            kept.append(statement)
    for name in found:
        if not any(explained(name, expression) for expression in kept):
            kept.append(name)
    if not kept and UNRECOGNIZED in stated:
        return UNRECOGNIZED
    return joined(kept, "AND")


def joined(expressions: list[str], operator: Literal["AND", "OR"]) -> str | None:
    """Sound expressions as one, each term once; None of none. `MIT AND (MIT OR GPL-2.0-only)` is `MIT`."""
    distinct = list(dict.fromkeys(expressions))
    if len(distinct) < 2:
        return distinct[0] if distinct else None
    function, other = (getattr(_licensing(), name) for name in (operator, "OR" if operator == "AND" else "AND"))
    terms: dict[str, Any] = {}
    for one in distinct:
        parsed = _parse(one, validate=False)
        for term in parsed.args if isinstance(parsed, function) else [parsed]:
            terms.setdefault(str(term.render("{symbol.key}")), term)
    kept = [
        term
        for term in terms.values()
        if not (isinstance(term, other) and any(str(arg.render("{symbol.key}")) in terms for arg in term.args))
    ]
    return str((function(*kept) if len(kept) > 1 else kept[0]).render("{symbol.key}"))


@cache
def permissive_ids() -> frozenset[str]:
    """The allow-list; `tools/permissive_licenses.py` says how it is made."""
    return frozenset(line for line in _allow_list() if line and not line.startswith("#"))


def allow_list_version() -> int:
    """Version of the allow-list, for manifests."""
    line = next(line for line in _allow_list() if line.startswith("# version:"))
    return int(line.partition(":")[2])


@cache
def _allow_list() -> tuple[str, ...]:
    file = resources.files("starloom.corpus") / "data" / "permissive_licenses.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())


@lru_cache(4096)
def license_type(expression: str | None) -> LicenseType:
    """`permissive` when the allow-list covers it (all of an AND, one of an OR), `no_license` for None."""
    if expression is None:
        return "no_license"
    parsed = _parse(expression, validate=False)
    return "permissive" if parsed is not None and _allowed(parsed) else "non_permissive"


def _allowed(parsed: Any) -> bool:
    licensing = _licensing()
    if isinstance(parsed, licensing.AND):
        return all(map(_allowed, parsed.args))
    if isinstance(parsed, licensing.OR):
        return any(map(_allowed, parsed.args))
    symbol = getattr(parsed, "license_symbol", parsed)  # an exception only ever allows more
    return str(symbol.key).removesuffix("+") in permissive_ids()
