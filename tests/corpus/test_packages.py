"""Packages are fetched by name and version without a line of theirs being run. No network: a folder, a file index and a
registry on this machine stand for PyPI and npm, a script for apt-get."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corpus.planted import made, plant_tar, rows
from starloom.corpus import Read
from starloom.corpus.sources import open_source
from starloom.corpus.sources.packages import Package, cache
from starloom.errors import ConfigError, SourceError


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder and a pip of its own, which look nowhere else."""
    for name in [name for name in os.environ if name.lower().startswith(("pip_", "npm_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path


def wheel(path: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for member, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(member, data)
    return path


TRAP = "from pathlib import Path\nPath({!r}).write_text('the package ran')\nraise SystemExit(1)\n"


def test_a_wheel_is_a_repository_of_its_files_and_a_second_reading_fetches_nothing(quiet: Path) -> None:
    wheel(quiet / "wheels", "some_thing", "1.5", {"thing/a.py": b"x = 1\n", "thing/__init__.py": b""})
    source = "pypi:Some.Thing==1.5"
    found = {row["path"]: row for row in rows(made(Read(source), quiet / "store"))}
    assert found[b"thing/a.py"]["text"] == "x = 1\n"
    assert {(row["repository"], row["revisions"][0]) for row in found.values()} == {("pypi:some-thing", "1.5")}
    shutil.rmtree(quiet / "wheels")
    assert open_source(source).listing().digest == Read(source).external_digests()["source"]


@pytest.mark.parametrize("place", [pytest.param("folder", marks=pytest.mark.slow), "index"])
def test_a_source_distribution_is_taken_as_a_file_and_its_setup_never_runs(
    quiet: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    marker = quiet / "ran"
    trap = TRAP.format(str(marker)).encode()
    files = {
        "PKG-INFO": b"Name: only-source\nVersion: 2.0\n",
        "setup.py": trap,
        "pyproject.toml": b"[build-system]\nrequires=[]\n",
        "a.py": b"1\n",
    }
    target = quiet / "wheels" if place == "folder" else quiet / "index" / "only-source"
    target.mkdir(parents=True, exist_ok=True)
    sdist = plant_tar(
        target / "only_source-2.0.tar.gz", {f"only_source-2.0/{name}": data for name, data in files.items()}
    )
    if place == "index":
        digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
        links = f'<a href="../only-source/{sdist.name}#sha256={digest}">x</a><a href="only_source-2.00.tar.gz">y</a>'
        (target / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", (quiet / "index").as_uri())
    found = {row["path"]: row for row in rows(made(Read("pypi:only-source==2.0"), quiet / "store"))}
    assert set(found) == {name.encode() for name in files}
    assert found[b"a.py"]["repository"] == "pypi:only-source"
    assert not marker.exists()


def test_a_file_that_is_not_what_the_index_says_is_refused(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = quiet / "index" / "x"
    target.mkdir(parents=True)
    plant_tar(target / "x-1.0.tar.gz", {"x-1.0/a.py": b"1\n"})
    (target / "index.html").write_text(f'<a href="x-1.0.tar.gz#sha256={"0" * 64}">x</a>')
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", (quiet / "index").as_uri())
    with pytest.raises(SourceError, match="is not the file that the index describes"):
        open_source("pypi:x==1.0").listing()
    assert not list((quiet / "home" / ".cache" / "starloom" / "packages" / "pypi").iterdir())


def test_a_package_that_is_nowhere_says_so_in_one_line(quiet: Path) -> None:
    with pytest.raises(
        SourceError, match=r"pypi:nowhere==1.0 cannot be fetched as a wheel \(ERROR: .*\), nor is its source"
    ) as caught:
        open_source("pypi:nowhere==1.0").listing()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spelling",
    ["pypi:x", "pypi:x==", "pypi:x>=1", "pypi:-r==1", "pypi:../x==1", "pypi:x==1 --pre", "pypi:x==1;a", "npm:x", "npm:x@latest",
     "npm:../x@1.0.0", "npm:--x@1.0.0", "npm:@a/b/c@1.0.0", "npm:git+ssh://x@1", "debian:X", "debian:x=", "debian:--x", "debian:a/b"],
)  # fmt: skip
def test_what_is_no_name_and_version_never_reaches_a_client(spelling: str) -> None:
    with pytest.raises(ConfigError, match="names no package and version; it is spelled"):
        open_source(spelling)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_a_version_that_npm_does_not_have_is_refused_with_npms_own_reason(
    quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry(b"") as address:
        monkeypatch.setenv("npm_config_registry", address)
        monkeypatch.setenv("npm_config_update_notifier", "false")
        with pytest.raises(SourceError, match=r"cannot be fetched: npm error .*No matching version found .*@99\.0\.0"):
            open_source("npm:@o/thing@99.0.0").listing()


@contextmanager
def registry(tarball: bytes) -> Iterator[str]:
    """An npm registry of one package."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = f"http://{self.headers['Host']}"
            digest = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
            one = {
                "name": "@o/thing",
                "version": "1.2.3",
                "dist": {"tarball": f"{host}/thing.tgz", "integrity": digest},
            }
            whole = {"name": "@o/thing", "dist-tags": {"latest": "1.2.3"}, "versions": {"1.2.3": one}}
            body = tarball if self.path == "/thing.tgz" else json.dumps(whole).encode()
            self.send_response(200 if "thing" in self.path else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_an_npm_package_is_its_files_and_its_scripts_never_run(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = quiet / "ran"
    hooks = ("preinstall", "install", "postinstall", "prepare", "prepack", "postpack")
    package = {"name": "@o/thing", "version": "1.2.3", "scripts": dict.fromkeys(hooks, f"touch {marker}")}
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        for name, data in {
            "package/package.json": json.dumps(package).encode(),
            "package/lib/a.js": b"let a = 1\n",
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with registry(body.getvalue()) as address:
        monkeypatch.setenv("npm_config_registry", address)
        monkeypatch.setenv("npm_config_update_notifier", "false")
        found = rows(made(Read("npm:@o/thing@1.2.3"), quiet / "store"))
    assert [(row["path"], row["repository"], row["owner"], row["revisions"]) for row in found] == [
        (b"lib/a.js", "npm:@o/thing", "o", ["1.2.3"]), (b"package.json", "npm:@o/thing", "o", ["1.2.3"]),
    ]  # fmt: skip
    assert not marker.exists()


def apt_get(folder: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that leaves files, and says how it was called."""
    (folder / "archive").mkdir()
    (folder / "bin").mkdir()
    for name, data in files.items():
        (folder / "archive" / name).write_bytes(data)
    script = folder / "bin" / "apt-get"
    script.write_text(f'#!/bin/sh\necho "$@" > {folder}/called\ncp {folder}/archive/* .\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return folder / "called"


def dsc(version: str, **files: bytes) -> bytes:
    lines = [f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}" for name, data in files.items()]
    return "\n".join(["-----BEGIN PGP SIGNED MESSAGE-----", "Format: 3.0 (quilt)", f"Version: {version}",
                      "Checksums-Sha256:", *lines, "Files:", " 0123 1 x", "-----END"]).encode()  # fmt: skip


def test_a_debian_package_is_its_upstream_archive_unpacked_by_nobody_else(
    quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = plant_tar(quiet / "o.tar.xz", {"thing-1.0/a.c": b"int a;\n", "thing-1.0/COPYING": b"MIT\n"}).read_bytes()
    patches = plant_tar(quiet / "d.tar.xz", {"debian/rules": b"#!/usr/bin/make -f\n"}).read_bytes()
    names = {"thing_1.0.orig.tar.xz": original, "thing_1.0-2.debian.tar.xz": patches}
    called = apt_get(quiet, {**names, "thing_1.0-2.dsc": dsc("1:1.0-2", **names)}, monkeypatch)
    found = rows(made(Read("debian:thing"), quiet / "store"))
    assert [(row["path"], row["repository"], row["revisions"]) for row in found] == [
        (b"COPYING", "debian:thing", ["1:1.0-2"]), (b"a.c", "debian:thing", ["1:1.0-2"]),
    ]  # fmt: skip
    assert called.read_text().split() == ["source", "--download-only", "-qq", "thing"]


def test_a_native_debian_package_is_its_only_archive(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = plant_tar(quiet / "o.tar.gz", {"tool/a.pl": b"1;\n"}).read_bytes()
    apt_get(quiet, {"tool_3.tar.gz": data, "tool_3.dsc": dsc("3", **{"tool_3.tar.gz": data})}, monkeypatch)
    assert [row["path"] for row in rows(made(Read("debian:tool=3"), quiet / "store"))] == [b"a.pl"]


def test_a_debian_archive_that_is_not_what_its_description_says_is_refused(
    quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt_get(quiet, {"xy_1.orig.tar.gz": b"other", "xy_1.dsc": dsc("1", **{"xy_1.orig.tar.gz": b"this"})}, monkeypatch)
    with pytest.raises(SourceError, match=r"xy_1\.orig\.tar\.gz is not what its \.dsc says"):
        open_source("debian:xy").listing()


LISTLESS = """#!/bin/sh
echo "$@" >> {folder}/called
case "$*" in
  indextargets*) printf 'Origin: Debian\\nRepo-URI: http://deb.example/debian/\\nRelease: stable\\nComponent: main\\n';;
  update*Dir::State::Lists=*) touch {cache}/lists/deb.example_Sources;;
  source*Dir::State::Lists=*) cp {folder}/archive/* .;;
  *) echo "E: You must put some 'deb-src' URIs in your sources.list" >&2; exit 100;;
esac
"""


def test_an_apt_without_source_lists_gets_lists_of_our_own(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = plant_tar(quiet / "o.tar.gz", {"tool/a.pl": b"1;\n"}).read_bytes()
    called = apt_get(quiet, {"tool_3.tar.gz": data, "tool_3.dsc": dsc("3", **{"tool_3.tar.gz": data})}, monkeypatch)
    own = cache() / "apt"
    (quiet / "bin" / "apt-get").write_text(LISTLESS.format(folder=quiet, cache=own))
    assert [row["path"] for row in rows(made(Read("debian:tool"), quiet / "store"))] == [b"a.pl"]
    assert "URIs: http://deb.example/debian/\nSuites: stable" in (own / "sources" / "starloom.sources").read_text()
    open_source("debian:tool").listing()
    assert called.read_text().count("update") == 1, "lists are fetched once"


def test_a_client_that_is_missing_or_fails_says_so(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(quiet))
    with pytest.raises(SourceError, match=r"npm:x@1\.0\.0 is fetched with npm, which is not installed here"):
        Package.spelled("npm", "x@1.0.0").listing()
    (quiet / "npm").write_text("#!/bin/sh\necho npm error E404 not here >&2\nexit 1\n")
    (quiet / "npm").chmod(0o755)
    with pytest.raises(SourceError, match=r"npm:x@1\.0\.0 cannot be fetched: npm error E404 not here"):
        Package.spelled("npm", "x@1.0.0").listing()


STALE = """#!/bin/sh
case "$*" in
  *gone*) echo "E: Failed to fetch http://deb.example/g/gone_1.dsc  404  Not Found [IP: 192.0.2.1 80]" >&2; exit 100;;
  *) cp {folder}/archive/* .;;
esac
"""


def test_a_file_that_the_mirror_lacks_is_named_with_its_line_and_what_is_kept(
    quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plant_tar(quiet / "o.tar.gz", {"tool/a.pl": b"1;\n"}).read_bytes()
    apt_get(quiet, {"tool_3.tar.gz": data, "tool_3.dsc": dsc("3", **{"tool_3.tar.gz": data})}, monkeypatch)
    (quiet / "bin" / "apt-get").write_text(STALE.format(folder=quiet))
    (quiet / "list").write_text("debian:tool\n# and\ndebian:gone=1\n")
    with pytest.raises(SourceError) as caught:
        open_source(f"list:{quiet / 'list'}").listing()
    said = str(caught.value)
    assert said.startswith(f"{quiet / 'list'}:3: debian:gone=1 cannot be fetched: E: Failed to fetch ")
    assert "404" in said and "the mirror lacks this file" in said and "or leave the package out" in said
    assert said.endswith(f"; kept in {cache()}, and not fetched again: debian:tool")
    (quiet / "list").write_text("debian:tool\n")
    shutil.rmtree(quiet / "archive")
    assert [row["path"] for row in rows(made(Read(f"list:{quiet / 'list'}"), quiet / "store"))] == [b"a.pl"]


def test_what_fails_in_a_list_is_named_with_its_line(tmp_path: Path) -> None:
    plant_tar(tmp_path / "a.tar", {"a.py": b"1\n"})
    (tmp_path / "b.tar").write_bytes(b"no archive")
    (tmp_path / "list").write_text("a.tar\n\nb.tar\n")
    with pytest.raises(SourceError, match=rf"^{tmp_path / 'list'}:3: archive {tmp_path / 'b.tar'} "):
        open_source(f"list:{tmp_path / 'list'}").listing()
