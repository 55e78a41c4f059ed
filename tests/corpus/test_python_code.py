"""The code that every machine with Python has: the standard library, and installed packages by their RECORDs."""

from __future__ import annotations

import base64
import hashlib
import platform
from pathlib import Path

import pytest

from corpus.planted import by_path, made, plant, rows
from starloom.corpus.read import Read
from starloom.corpus.sources import open_source, python
from starloom.corpus.sources.folder import Folder
from starloom.corpus.sources.python import STDLIB, SitePackages
from starloom.errors import SourceError


def stated(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def install(site: Path, name: str, version: str, files: dict[str, bytes], *extra_lines: str) -> None:
    """Files and a dist-info as pip leaves them."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Name: {name}\nVersion: {version}\n".encode()
    lines = [f"{path},{stated(data)},{len(data)}" for path, data in {**files, f"{info}/METADATA": metadata}.items()]
    record = "\n".join([*lines, *extra_lines, f"{info}/RECORD,,"]) + "\n"
    plant(site, {**files, f"{info}/METADATA": metadata, f"{info}/RECORD": record.encode()})


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site-packages"
    install(site, "Some_Thing", "1.0", {"some_thing/__init__.py": b"x = 1\n"}, "../../../bin/tool,,", "gone.py,,")
    install(site, "other", "2.5", {"other.py": b"y = 2\n", "shared/a.py": b"1\n"}, "__pycache__/other.pyc,,")
    plant(site, {"stray.py": b"nobody's\n"})
    return site


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    monkeypatch.setattr(python, "site_packages", lambda: SitePackages((site,)))
    return SitePackages((site,))


def test_the_standard_library_is_one_repository_at_its_version() -> None:
    source = open_source("python:stdlib")
    assert isinstance(source, Folder)
    assert source.repository.name == STDLIB
    assert source.repository.revision == platform.python_version()
    paths = {entry.path for entry in source.listing().entries}
    assert {b"json/__init__.py", b"abc.py"} <= paths
    assert not any(path.startswith(b"site-packages/") or b"__pycache__" in path for path in paths)


def test_each_distribution_is_a_repository_with_the_files_of_its_record(
    installed: SitePackages, tmp_path: Path
) -> None:
    built = made(Read("python:site-packages"), tmp_path / "store")
    found = {(row["repository"], row["path"]): row for row in rows(built)}
    assert {path for name, path in found if name == "pypi:some-thing"} == {
        b"some_thing/__init__.py",
        b"Some_Thing-1.0.dist-info/METADATA",
        b"Some_Thing-1.0.dist-info/RECORD",
    }
    assert found["pypi:other", b"other.py"]["revisions"] == ["2.5"]
    assert b"stray.py" not in by_path(built)
    assert built.counts["dropped"] == {"outside": 1, "missing": 1, "bytecode_cache": 1}


def test_rows_are_sorted_by_repository_then_path(installed: SitePackages, tmp_path: Path) -> None:
    places = [(row["repository"], row["path"]) for row in rows(made(Read("python:site-packages"), tmp_path / "store"))]
    assert places == sorted(places)


def test_a_new_version_is_a_new_fingerprint_and_so_is_an_edited_file(installed: SitePackages, site: Path) -> None:
    before = installed.listing().digest
    assert installed.listing().digest == before
    (site / "other.py").write_bytes(b"y = 2  # edited\n")
    edited = installed.listing().digest
    assert edited != before
    entries = installed.listing().entries
    assert b"y = 2  # edited\n" in {raw.data for raw in installed.read(entries, 1000)}


def test_a_file_that_is_not_what_its_record_says_is_named_with_a_remedy(installed: SitePackages, site: Path) -> None:
    (site / "other.py").write_bytes(b"y = 3\n")  # of the stated size
    entries = installed.listing().entries
    with pytest.raises(SourceError, match=r"other\.py is not what the RECORD of other says.*pip install"):
        list(installed.read(entries, 1000))


@pytest.mark.parametrize("max_bytes", [2, 1000])
def test_a_large_file_is_checked_against_its_record_too(installed: SitePackages, site: Path, max_bytes: int) -> None:
    entries = installed.listing().entries
    (site / "other.py").write_bytes(b"y = 3\n")
    with pytest.raises(SourceError, match="is not what the RECORD"):
        list(installed.read(entries, max_bytes))


def test_a_hostile_record_reads_nothing_outside(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (tmp_path / "secret").write_bytes(b"s")
    install(site, "evil", "1", {"a.py": b"1\n"}, "../secret,,", "/etc/passwd,,", "link,,", "", "x,y")
    (site / "link").symlink_to("/etc/passwd")
    install(site, "worse", "1", {"b.py": b"1\n"}, '"unclosed')
    listing = SitePackages((site,)).listing()
    assert listing.skipped == {"outside": 3, "no_regular_file": 1, "missing": 1, "malformed_record": 1}
    paths = {entry.path for entry in listing.entries}
    assert paths == {b"a.py", b"evil-1.dist-info/METADATA", b"evil-1.dist-info/RECORD"}


def test_an_environment_without_packages_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no packages with a RECORD are installed"):
        SitePackages((tmp_path,)).listing()
