"""What single files tell about the license of a repository or a folder: metadata, license files, and weaker mentions."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starloom.corpus.language import language_of, languages
from starloom.corpus.license_changes import shown
from starloom.corpus.license_expressions import UNRECOGNIZED, as_expression, combined, joined
from starloom.corpus.license_headers import HEAD
from starloom.corpus.license_metadata import debian_folders, statement
from starloom.corpus.schemas import Attribute

_LICENSE_FILE = re.compile(
    r"(?:[\w-]+[-_.])?(?:licen[cs]es?|copying(?:v?\d)?|copyleft|unlicense)(?:[-_. ].*)?"
    r"|(?:[al]?gpl|mpl|epl|eupl|mit|apache|bsd)(?:[-_ ]?v?\d(?:\.\d)?)?(?:[-_](?:only|or-later|clause))?(?:\.(?:txt|md|rst|html))?",
    re.IGNORECASE,
)
_MENTIONING = re.compile(  # asked only where nothing else tells: they list third parties and mention licenses
    r"(?:copyrights?|legal|notices?|readme|eula)(?:\.(?:txt|md|rst|html))?", re.IGNORECASE
)
_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([^\n\r\"'`]{1,200})")
NO_LICENSE = Attribute(None, None, 0.0)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one file tells about its repository's license."""

    repository: str
    path: str
    how: str  # metadata, license_file
    expressions: tuple[str, ...]  # what it states, or every license that its text shows
    names: tuple[str, ...] = ()  # globs of license files, beside a metadata file


def is_license_file(name: str) -> bool:
    """LICENSE, LICENCE, COPYING or UNLICENSE, with what is hung on them, but no program that is called so."""
    if not _LICENSE_FILE.fullmatch(name):
        return False
    return languages().get(language_of(name.encode("utf-8", "surrogateescape")).value or "") != "programming"


def evidence_of(repository: str, path: str, text: str) -> Evidence | None:
    """What a file tells about its repository's license; None for a file that is not asked."""
    name = path.rpartition("/")[2]
    stated = statement(name, text)
    if stated is not None:
        return Evidence(repository, path, "metadata", (stated.expression,) if stated.expression else (), stated.files)
    if path.rpartition("/")[0].rpartition("/")[2] == "LICENSES":  # REUSE: texts of what is used somewhere, by their ids
        stated_by_name = as_expression(name.rpartition(".")[0])
        return Evidence(repository, path, "license_list", (stated_by_name,) if stated_by_name else shown(text))
    if _MENTIONING.fullmatch(name):
        unknown = (UNRECOGNIZED,) if name.lower().startswith("eula") else ()
        return Evidence(repository, path, "mention", shown(text) or unknown)
    if is_license_file(name):
        header = spdx_header(text)
        return Evidence(repository, path, "license_file", shown(text) or ((header,) if header else ()))
    return None


def told_by(repository: str, path: str, text: str) -> list[Evidence]:
    """All that a file tells: mostly about its own folder, Debian's debian/copyright about any."""
    if path.endswith("debian/copyright") and path.removesuffix("debian/copyright")[-1:] in ("", "/"):
        root = path.removesuffix("debian/copyright")
        if not debian_folders(text):  # written freely
            return [Evidence(repository, f"{root}copyright", "mention", shown(text))]
        return [
            Evidence(repository, f"{root}{folder}copyright", "metadata", (expression,))
            for folder, expression in debian_folders(text).items()
        ]
    one = evidence_of(repository, path, text)
    return [] if one is None else [one]


def spdx_header(text: str) -> str | None:
    """The expression behind `SPDX-License-Identifier:` near the top of a file; None where it is none."""
    found = _HEADER.search(text, 0, HEAD)
    if found is None:
        return None
    return as_expression(re.sub(r"(\*/|-->|#\}|\*\)|%>).*$", "", found[1]).strip())


def repository_license(evidence: Iterable[Evidence], root: str) -> Attribute:
    """License of a repository whose files all lie below `root` (a folder with a slash at its end, or nothing)."""
    metadata: list[str] = []
    texts: list[str] = []
    unrecognized = False
    near = [one for one in evidence if one.path.startswith(root)]
    asked = [one for one in near if one.how == "metadata" and _at_root(one.path.removeprefix(root))]
    globs = [glob for one in asked for glob in one.names]
    for one in asked:
        metadata += one.expressions
    for one in near:
        place = one.path.removeprefix(root)
        named = any(fnmatch.fnmatchcase(place, glob) for glob in globs)
        if one.how == "license_file" and (named or _at_root(place)):
            texts += one.expressions
            unrecognized = unrecognized or not one.expressions
    value = combined(metadata, sorted(set(texts)))
    if value is None and unrecognized:
        return Attribute(UNRECOGNIZED, "license_file", 0.3)
    if value is None:
        return _weaker_evidence(near, root)
    if metadata and texts:
        agree = combined(metadata, []) == value
        return Attribute(value, "metadata and license_file", 1.0 if agree else 0.8)
    return Attribute(value, "metadata", 0.9) if metadata else Attribute(value, "license_file", 0.9)


def _weaker_evidence(near: list[Evidence], root: str) -> Attribute:
    """What the REUSE folder lists, else what NOTICE, README and their like mention, where nothing else tells."""
    for how, confidence in (("license_list", 0.5), ("mention", 0.4)):  # our choice
        said = [
            name for one in near if one.how == how and _at_root(one.path.removeprefix(root)) for name in one.expressions
        ]
        if said:
            return Attribute(joined(sorted(said), "AND"), how, confidence)
    return NO_LICENSE


def folder_licenses(evidence: Iterable[Evidence], root: str) -> dict[str, Attribute]:
    """Folder (with a slash at its end) → what its own metadata and license files say, for every folder but the root."""
    folders: dict[str, list[Evidence]] = {}
    for one in evidence:
        place = one.path.removeprefix(root)
        if one.path.startswith(root) and not _at_root(place) and one.how != "mention":  # of a part of the tree
            base = re.sub(r"LICENSES/$", "", place.rpartition("/")[0] + "/")
            folders.setdefault(root + base, []).append(one)
    found = {folder: repository_license(near, folder) for folder, near in sorted(folders.items())}
    return {folder: license_ for folder, license_ in found.items() if license_.value is not None}


def license_at(path: str, folders: Mapping[str, Attribute]) -> Attribute:
    """What a path is under: everything that a folder above it says ("" is the repository's root)."""
    above = [folders[""]] if "" in folders else []
    if len(folders) > len(above):
        slash = path.find("/")
        while slash >= 0:
            if (one := folders.get(path[: slash + 1])) is not None:
                above.append(one)
            slash = path.find("/", slash + 1)
    said = [one for one in above if one.value is not None]
    if len(said) < 2:
        return said[0] if said else NO_LICENSE
    value = combined([one.value for one in said if one.value is not None], [])
    return Attribute(value, "folder", min(one.confidence for one in said))


def _at_root(place: str) -> bool:
    """Whether a path tells about the whole repository: at its root, in the REUSE folder, or a wheel's own metadata."""
    return "/" not in place or re.match(r"LICENSES/[^/]+$|[^/]+\.dist-info/", place) is not None
