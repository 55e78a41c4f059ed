"""What a package says about its license: pyproject.toml, setup.cfg, package.json, Cargo.toml, METADATA and PKG-INFO,
and Debian's machine-readable debian/copyright.

Nothing of the package is run. A file that cannot be parsed says nothing.
"""

from __future__ import annotations

import configparser
import email.parser
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from starloom.corpus.license_changes import shown
from starloom.corpus.license_expressions import UNRECOGNIZED, as_expression, joined, named


class Statement(NamedTuple):
    """What one metadata file says: an SPDX expression, and globs of the license files that it names."""

    expression: str | None
    files: tuple[str, ...] = ()


_NOTHING = Statement(None)
_CLASSIFIER = "License :: "


def statement(name: str, text: str) -> Statement | None:
    """What a file of this name states; None for a name that is no package's metadata."""
    reader = _READERS.get(name)
    if reader is None:
        return None
    try:
        return reader(text)
    except (ValueError, RecursionError, configparser.Error):  # ValueError: malformed JSON and TOML
        return _NOTHING


def _free_text(text: object) -> str | None:
    """A license as people write it: an expression, a name, or the whole text; UNRECOGNIZED for words of another kind."""
    if not isinstance(text, str) or not text.strip() or text.strip().upper() in ("UNKNOWN", "NONE"):
        return None
    return as_expression(text) or named(text) or joined(list(shown(text)), "AND") or UNRECOGNIZED


def _from_classifiers(classifiers: object) -> str | None:
    if not isinstance(classifiers, list):
        return None
    names = [str(one).rpartition(" :: ")[2] for one in classifiers if str(one).startswith(_CLASSIFIER)]
    found = sorted({expression for name in names if (expression := named(name)) is not None})
    return joined(found, "AND")


def _strings(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _pyproject(text: str) -> Statement:
    data = tomllib.loads(text)
    project = _table(data.get("project"))
    license_ = project.get("license")
    files = _strings(project.get("license-files"))
    if isinstance(license_, dict):
        if isinstance(license_.get("file"), str):
            files += (license_["file"],)
        license_ = license_.get("text")
    found = _free_text(license_) or _from_classifiers(project.get("classifiers"))
    poetry = _table(_table(data.get("tool")).get("poetry"))
    return Statement(found or _free_text(poetry.get("license")) or _from_classifiers(poetry.get("classifiers")), files)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _setup_cfg(text: str) -> Statement:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    if not parser.has_section("metadata"):
        return _NOTHING
    fields = dict(parser.items("metadata"))
    files = fields.get("license_files", fields.get("license_file", ""))
    classifiers = [line.strip() for line in fields.get("classifiers", fields.get("classifier", "")).splitlines()]
    return Statement(
        _free_text(fields.get("license")) or _from_classifiers(classifiers),
        tuple(one for one in re.split(r"[\s,]+", files) if one),
    )


def _package_json(text: str) -> Statement:
    data = _table(json.loads(text))
    stated: list[object] = [data.get("license"), *_list(data.get("licenses"))]
    names = [one.get("type") if isinstance(one, dict) else one for one in stated]
    if "UNLICENSED" in names:  # npm's word for "all rights reserved"
        return Statement("LicenseRef-proprietary")
    files = tuple(
        name.removeprefix("SEE LICENSE IN ").strip("<>")
        for name in names
        if isinstance(name, str) and name.startswith("SEE LICENSE IN ")
    )
    found = [expression for name in names if (expression := _free_text(name)) is not None]
    return Statement(joined(found, "OR"), files)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _cargo_toml(text: str) -> Statement:
    package = _table(tomllib.loads(text).get("package"))
    license_, file = package.get("license"), package.get("license-file")
    if isinstance(license_, str):
        license_ = license_.replace("/", " OR ")  # the old spelling of a choice
    return Statement(_free_text(license_), (file,) if isinstance(file, str) else ())


def _python_metadata(text: str) -> Statement:
    headers = email.parser.HeaderParser().parsestr(text)

    def every(name: str) -> Iterator[str]:
        return (str(value) for value in headers.get_all(name, []))

    stated = next(every("License-Expression"), None)
    found = as_expression(stated) if stated else None
    found = found or _free_text(next(every("License"), None)) or _from_classifiers(list(every("Classifier")))
    return Statement(found, tuple(every("License-File")))


_DEBIAN_GNU = re.compile(r"(A|L)?GPL-?(\d)(?:\.(\d))?(?:\.0)*(\+|-only|-or-later)?", re.IGNORECASE)
_DEBIAN_NAMES = {
    "apache-2": "Apache-2.0", "artistic": "Artistic-1.0-Perl", "bsd": "LicenseRef-BSD-unspecified", "bsd-2": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause", "expat": "MIT", "public-domain": "LicenseRef-scancode-public-domain", "psf-2": "PSF-2.0",
}  # fmt: skip


def debian_folders(text: str) -> dict[str, str]:
    """Folder ("" for all of it, else with a slash at its end) → SPDX expression, of Debian's debian/copyright.

    Only `Files: *` and globs of whole folders are read (format 1.0, section 7.2); what is about single files or about
    the packaging in `debian/` says nothing of a folder. Nothing is found in a file of another format.
    """
    if not re.match(r"Format(?:-Specification)?:", text):
        return {}
    found: dict[str, str] = {}
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields = dict(re.findall(r"(?m)^(Files|License):[ \t]*([^\n]*(?:\n[ \t]+[^\n]+)*)", paragraph))
        if not {"Files", "License"} <= set(fields):
            continue
        expression = _debian_license(fields["License"].split("\n", 1)[0])
        for glob in re.split(r"[\s,]+", fields["Files"].strip()):
            folder = glob.removeprefix("./").removesuffix("*")
            if (
                glob.endswith("*")
                and not re.search(r"[*?]", folder)
                and folder != "debian/"
                and folder[-1:] in ("", "/")
            ):
                found[folder] = expression
    return found


def _debian_license(name: str) -> str:
    """Debian's short names as SPDX: `GPL-2+ or Artistic`; UNRECOGNIZED where one of them is unknown."""
    parts = re.split(r"[\s,]+(and/or|or|and)[\s,]+", name.strip())
    if len(parts) == 1:
        plain = re.sub(r"\s+with\s.*", "", parts[0])
        gnu = _DEBIAN_GNU.fullmatch(plain)
        if gnu is not None:
            kind, major, minor, later = gnu.groups()
            return f"{(kind or '').upper()}GPL-{major}.{minor or 0}-{'or-later' if later in ('+', '-or-later') else 'only'}"
        return _DEBIAN_NAMES.get(plain.lower()) or as_expression(plain) or named(plain) or UNRECOGNIZED
    terms = [_debian_license(one) for one in parts[::2]]
    if UNRECOGNIZED in terms:
        return UNRECOGNIZED
    operator: Literal["AND", "OR"] = (
        "OR" if set(parts[1::2]) <= {"or", "and/or"} else "AND"
    )  # a mixture binds as its strictest reading
    return joined(terms, operator) or UNRECOGNIZED


_READERS: dict[str, Callable[[str], Statement]] = {
    "pyproject.toml": _pyproject,
    "setup.cfg": _setup_cfg,
    "package.json": _package_json,
    "Cargo.toml": _cargo_toml,
    "METADATA": _python_metadata,
    "PKG-INFO": _python_metadata,
}
