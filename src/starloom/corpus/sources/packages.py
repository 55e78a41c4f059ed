"""Packages of PyPI, npm and Debian by name and version: fetched by the registry's own client, and read as archives.

What is covered: nothing of a package is run. Wheels are downloaded and never installed; a source distribution is taken
from the index as a file, because pip would run its build; npm packs without scripts; Debian's upstream archive is
downloaded and not unpacked by apt. What is not covered: the clients themselves, and what a registry hands out.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from starloom.corpus.sources.archive import Archive, suffix_of
from starloom.corpus.sources.clients import TIMEOUT_S, run, sha256
from starloom.corpus.sources.debian import fetch, source_control
from starloom.corpus.sources.listing import Entry, Listing, Raw, Repository, printable, pypi_repository
from starloom.errors import ConfigError, SourceError

Registry = Literal["pypi", "npm", "debian"]
_SPELLED = {
    "pypi": (r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)", "pypi:NAME==VERSION"),
    "npm": (
        r"(?P<name>(?:@[A-Za-z0-9~][A-Za-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*)@(?P<version>\d[A-Za-z0-9.+-]*)",
        "npm:NAME@VERSION",
    ),
    "debian": (r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?:=(?P<version>[A-Za-z0-9][A-Za-z0-9.+~:-]*))?", "debian:NAME=VERSION"),
}
_LARGEST = 2 << 30  # bytes of an archive; our choice
_PYPI = "https://pypi.org/simple"  # pip's own default
_SDIST = (".tar.gz", ".zip", ".tgz", ".tar.bz2")


def cache() -> Path:
    """Where fetched archives lie; they are checked by what they hold, not by where they lie."""
    return Path.home() / ".cache" / "starloom" / "packages"


@dataclass(frozen=True, slots=True)
class Package:
    """One package at one version (Debian's may be the newest that apt knows)."""

    registry: Registry
    name: str
    version: str | None

    @classmethod
    def spelled(cls, registry: Registry, text: str) -> Package:
        """From `NAME==VERSION`, `NAME@VERSION` or `NAME=VERSION`. Raises ConfigError."""
        pattern, example = _SPELLED[registry]
        found = re.fullmatch(pattern, text)
        if found is None:
            raise ConfigError(
                f"source '{registry}:{printable(text)}' names no package and version; it is spelled {example}, "
                "one exact version, so that it is the same tomorrow"
            )
        return cls(registry, found["name"], found["version"])

    def __str__(self) -> str:
        sign = {"pypi": "==", "npm": "@", "debian": "="}[self.registry]
        return f"{self.registry}:{self.name}" + (f"{sign}{self.version}" if self.version else "")

    @property
    def spelling(self) -> str:
        return f"{self.name}{'==' if self.registry == 'pypi' else '@'}{self.version or 'newest'}"

    def archive(self) -> Archive:
        """The archive, fetched unless it lies in the cache."""
        kept = cache() / self.registry / re.sub(r"[^A-Za-z0-9.+@=_~-]", "+", self.spelling)
        if not kept.is_dir():
            kept.parent.mkdir(parents=True, exist_ok=True)
            logging.getLogger("starloom").info("fetching %s:%s", self.registry, self.spelling)
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetching-") as folder:
                fetched = Path(folder) / "fetched"
                fetched.mkdir()
                {"pypi": _fetch_pypi, "npm": _fetch_npm, "debian": _fetch_debian}[self.registry](self, fetched)
                try:
                    fetched.rename(kept)
                except OSError:  # another process was faster
                    if not kept.is_dir():
                        raise
        archives = sorted(path for path in kept.iterdir() if suffix_of(path) is not None)
        if len(archives) != 1:
            raise SourceError(f"{kept} holds {len(archives)} archives, not one; remove it and run again")
        version = self.version
        for path in kept.glob("*.dsc"):
            version = source_control(path)[0]
        return Archive(archives[0], repository=self._repository(version))

    def _repository(self, version: str | None) -> Repository:
        if self.registry == "pypi":
            known = pypi_repository(self.name, version)
            assert known is not None, "the spelling was checked"
            return known
        scope = self.name.partition("/")[0].removeprefix("@") if "/" in self.name else None
        return Repository(f"{self.registry}:{self.name}", scope and scope.casefold(), version)

    def listing(self) -> Listing:
        return self.archive().listing()

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        return self.archive().read(entries, max_bytes)


def _fetch_pypi(package: Package, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    wanted = f"{package.name}=={package.version}"
    flags = ["--no-deps", "--only-binary", ":all:", "--no-input", "--quiet", "--disable-pip-version-check"]
    why = run([*pip, "download", *flags, "--dest", str(folder), wanted], folder, f"pypi:{wanted}")
    if why is not None and not _fetch_sdist(package, folder):
        raise SourceError(f"pypi:{wanted} cannot be fetched as a wheel ({why}), nor is its source in the index")


def _fetch_debian(package: Package, folder: Path) -> None:
    fetch(package.name, package.version, folder, cache() / "apt")


def _fetch_npm(package: Package, folder: Path) -> None:
    command = ["npm", "pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", str(folder)]
    why = run([*command, f"{package.name}@{package.version}"], folder, f"npm:{package.spelling}")
    if why is not None:
        raise SourceError(f"npm:{package.spelling} cannot be fetched: {why}")


class _Links(HTMLParser):
    """The links of a page of a simple index (PEP 503)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _fetch_sdist(package: Package, folder: Path) -> bool:
    """Download a source distribution as a file from the places that pip is configured to look in."""
    settings = _pip_settings()
    context = ssl.create_default_context(cafile=settings["cert"][0] if settings["cert"] else None)
    normal = re.sub(r"[-_.]+", "-", package.name).lower()
    indexes = [] if settings["no-index"] else [*(settings["index-url"] or [_PYPI]), *settings["extra-index-url"]]
    pages = [f"{index.rstrip('/')}/{normal}/" for index in indexes]
    for page in pages:
        for link in _links(page, context):
            if _is_sdist(unquote(Path(urlsplit(link).path).name), package):
                _download(link, folder, context)
                return True
    for place in settings["find-links"]:
        local = Path(urllib.request.url2pathname(urlsplit(place).path)) if place.startswith("file:") else Path(place)
        for path in sorted(local.iterdir()) if local.is_dir() else ():
            if _is_sdist(path.name, package):
                shutil.copyfile(path, folder / path.name)
                return True
    return False


def _pip_settings() -> dict[str, list[str]]:
    """Where pip looks, from its files and environment, as pip itself tells."""
    found: dict[str, list[str]] = {
        name: [] for name in ("index-url", "extra-index-url", "find-links", "no-index", "cert")
    }
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    for line in done.stdout.splitlines():
        row = re.fullmatch(r"(?::env:|global|download|install)\.([a-z-]+)='(.*)'", line.strip())
        if row and row[1] in found:
            found[row[1]] += [value for value in row[2].replace("\\n", " ").split() if value not in ("0", "false")]
    return found


def _links(page: str, context: ssl.SSLContext) -> list[str]:
    if page.startswith("file:"):
        index = Path(urllib.request.url2pathname(urlsplit(page).path)) / "index.html"
        text = index.read_text(encoding="utf-8", errors="replace") if index.is_file() else ""
    else:
        request = urllib.request.Request(page, headers={"Accept": "text/html", "User-Agent": "starloom"})
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                text = answer.read(64 << 20).decode("utf-8", "replace")
        except (urllib.error.URLError, TimeoutError):
            return []
    return [urljoin(page, link) for link in _Links(text).found]


def _is_sdist(name: str, package: Package) -> bool:
    suffix = next((suffix for suffix in _SDIST if name.endswith(suffix)), None)
    if suffix is None:
        return False
    stem, _, version = name.removesuffix(suffix).rpartition("-")
    same = re.sub(r"[-_.]+", "-", stem).lower() == re.sub(r"[-_.]+", "-", package.name).lower()
    return same and version == package.version


def _download(link: str, folder: Path, context: ssl.SSLContext) -> None:
    """One file; where the index states its SHA-256, it has to have it."""
    address, fragment = urldefrag(link)
    path = folder / os.path.basename(unquote(urlsplit(address).path))  # noqa: PTH119 (a URL's last part)
    if urlsplit(address).scheme not in ("https", "http", "file"):
        raise SourceError(f"{printable(address)} is no address that is fetched")
    try:
        with urllib.request.urlopen(address, timeout=60, context=context) as answer, path.open("wb") as file:
            left = _LARGEST
            while chunk := answer.read(1 << 20):
                left -= len(chunk)
                if left < 0:
                    raise SourceError(f"{printable(address)} is larger than {_LARGEST:,} bytes; it is not fetched")
                file.write(chunk)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise SourceError(f"{printable(address)} cannot be fetched: {error}") from None
    stated = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
    if stated and sha256(path) != stated[1]:
        raise SourceError(f"{printable(address)} is not the file that the index describes; try again later")
