"""Debian source packages through apt: downloaded and checked against their .dsc, never unpacked by apt, never built.

Where the system's apt knows binary packages only, as it is set up by default, source lists of the same repositories are
kept in a folder of ours; nothing of the system's is touched.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from starloom.corpus.sources.clients import TIMEOUT_S, run, sha256
from starloom.errors import SourceError

_NO_SOURCES = "deb-src"  # apt's complaint names what is missing
_ORIGINS = ("Debian", "Ubuntu", "Raspbian", "")  # repositories that are sure to have source indexes; our choice


def fetch(name: str, version: str | None, folder: Path, lists: Path) -> None:
    """Put the upstream archive and the .dsc of a source package into a folder. Raises SourceError."""
    wanted = name + (f"={version}" if version else "")
    command = ["apt-get", "source", "--download-only", "-qq", wanted]
    why = run(command, folder, f"debian:{wanted}")
    if why is not None and _NO_SOURCES in why:
        own = _own_lists(lists)
        why = run([*command, *own], folder, f"debian:{wanted}")
        if why is not None:  # perhaps since then there is a newer version
            run(["apt-get", "update", "-qq", *own], folder, f"debian:{wanted}")
            why = run([*command, *own], folder, f"debian:{wanted}")
    if why is not None:
        raise SourceError(f"debian:{wanted} cannot be fetched: {why}{_what_to_do(name, why)}")
    _keep_upstream(wanted, folder)


def _what_to_do(name: str, why: str) -> str:
    """Where the index names a file that its mirror does not have: it is behind, or the version has been removed."""
    if not re.search(r"\b404\b|\b410\b", why):
        return ""
    return (
        "; the mirror lacks this file although its index names it: name another version "
        f"(`apt-cache showsrc {name}` lists them), or leave the package out"
    )


def _keep_upstream(wanted: str, folder: Path) -> None:
    """Leave the upstream archive, its SHA-256 checked, and the .dsc that states it."""
    descriptions = list(folder.glob("*.dsc"))
    if len(descriptions) != 1:
        raise SourceError(f"debian:{wanted}: apt-get left {len(descriptions)} .dsc files, not one")
    _, files = source_control(descriptions[0])
    originals = [name for name in files if re.search(r"\.orig\.tar\.\w+$", name)]
    if not originals:  # a native package: Debian is its upstream
        originals = [name for name in files if re.search(r"\.tar\.\w+$", name) and ".debian." not in name]
    if len(originals) != 1:
        raise SourceError(f"debian:{wanted} has {len(originals)} upstream archives, not one")
    path = folder / originals[0]
    if not path.is_file() or sha256(path) != files[originals[0]]:
        raise SourceError(f"debian:{wanted}: {originals[0]} is not what its .dsc says")
    for other in folder.iterdir():
        if other not in (path, descriptions[0]):
            other.unlink()


def source_control(path: Path) -> tuple[str | None, dict[str, str]]:
    """Version, and file name → SHA-256, of a Debian source control file (Debian policy 5.4)."""
    version, files, inside = None, {}, False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if inside and (row := re.fullmatch(r"\s+([0-9a-f]{64})\s+\d+\s+([^/\s]+)", line)):
            files[row[2]] = row[1]
            continue
        inside = line.strip() == "Checksums-Sha256:"
        if line.startswith("Version:") and version is None:
            version = line.partition(":")[2].strip()
    return version, files


def _own_lists(folder: Path) -> list[str]:
    """apt's flags for source lists of our own, fetched where there are none yet."""
    parts = folder / "sources"
    for path in (folder / "lists" / "partial", folder / "archives" / "partial", parts):
        path.mkdir(parents=True, exist_ok=True)
    flags = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": parts,
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "APT::Sandbox::User": "",  # the cache is ours alone
    }
    options = [word for name, value in flags.items() for word in ("-o", f"{name}={value}")]
    if not any((folder / "lists").glob("*_Sources*")):
        (parts / "starloom.sources").write_text(_source_repositories(), encoding="utf-8")
        why = run(["apt-get", "update", "-qq", *options], folder, "Debian's source lists")
        if why is not None:
            raise SourceError(f"Debian's source lists cannot be fetched: {why}")
    return options


def _source_repositories() -> str:
    """The system's repositories of Debian as sources of source packages, in apt's own format (sources.list(5))."""
    done = subprocess.run(
        ["apt-get", "indextargets", "Created-By: Packages"],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    found: dict[tuple[str, str], list[str]] = {}
    for stanza in done.stdout.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if fields.get("Origin", "") in _ORIGINS and {"Repo-URI", "Release", "Component"} <= fields.keys():
            components = found.setdefault((fields["Repo-URI"], fields["Release"]), [])
            components += [] if fields["Component"] in components else [fields["Component"]]
    if not found:
        raise SourceError("apt knows no repository of Debian; add one, or leave debian: sources out")
    return "\n".join(
        f"Types: deb-src\nURIs: {address}\nSuites: {release}\nComponents: {' '.join(components)}\n"
        for (address, release), components in found.items()
    )
