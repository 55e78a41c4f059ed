"""Git repositories made to hurt: damaged at any place, pipes among their files, settings that reach outside."""

from __future__ import annotations

import gc
import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.planted import made, plant_git, rows
from starloom.corpus import Read
from starloom.corpus.sources import open_source
from starloom.errors import SourceError

BODY = b"".join(b"line %d of a file that is long enough\n" % n for n in range(40))


def planted(root: Path) -> Path:
    plant_git(
        root, {b"a.py": BODY, b"b/c.py": BODY * 2}, {b"a.py": BODY + b"x\n", b"b/c.py": BODY * 2, b"d.py": b"z\n"}
    )
    return root


def packed(root: Path) -> tuple[Path, Path]:
    planted(root)
    subprocess.run(["git", "-C", str(root), "-c", "gc.auto=0", "gc", "-q"], check=True)
    (pack,) = (root / ".git" / "objects" / "pack").glob("*.pack")
    for path in (pack, pack.with_suffix(".idx")):
        path.chmod(0o644)
    return pack, pack.with_suffix(".idx")


def read_or_refused(source: str, where: Path, root: Path) -> None:
    """All that was there is read, or one line says which repository is damaged; never anything else."""
    try:
        built = made(Read(source), where)
    except SourceError as error:
        assert str(root) in str(error) and str(error).isprintable()
    else:
        texts = {b"a.py": BODY + b"x\n", b"b/c.py": BODY * 2, b"d.py": b"z\n"}
        assert {row["path"] for row in rows(built)} == set(texts)
        for row in rows(built):  # an object that says it has 2 GB is not unpacked to see whether it lies
            assert row["unread"] == "too_large" or row["text"].encode() == texts[row["path"]]


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "missing": lambda data: None,
    "another's": lambda data: zlib.compress(b"blob 2\0z\n"),
    "bomb": lambda data: zlib.compress(b"blob 2000000000\0" + bytes(8 << 20), 9),
    "a bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_object_may_be_damaged(tmp_path: Path, damage: str) -> None:
    names = [p.relative_to(tmp_path / "0") for p in sorted((planted(tmp_path / "0") / ".git" / "objects").glob("*/*"))]
    for number, name in enumerate(names):
        root = tmp_path / f"repo{number}"
        place = planted(root) / name
        place.chmod(0o644)
        data = DAMAGE[damage](place.read_bytes())
        if data is None:
            place.unlink()
        else:
            place.write_bytes(data)
        read_or_refused(f"git:{root}", tmp_path / f"store{number}", root)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("suffix", [".pack", ".idx"])  # dulwich leaves what it opened of a damaged one to the collector
def test_a_pack_and_its_index_may_be_cut_or_changed_anywhere(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "repo"
    path = next(one for one in packed(root) if one.suffix == suffix)
    data = path.read_bytes()
    changed = [data[:at] for at in (0, 10, len(data) // 2, len(data) - 1)]
    changed += [data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :] for at in range(0, len(data), len(data) // 24)]
    for number, one in enumerate([*changed, bytes(len(data)), data[:-60] + b"\xff" * 60]):
        path.write_bytes(one)
        read_or_refused(f"git:{root}", tmp_path / f"store{number}", root)
    gc.collect()


@pytest.mark.parametrize(
    "name", ["HEAD", "config", "packed-refs", "refs/heads/main", "objects/info/alternates", "object"]
)
def test_a_pipe_among_the_files_of_a_repository_does_not_block(tmp_path: Path, name: str) -> None:
    root = planted(tmp_path / "repo")
    inside = root / ".git"
    place = next((inside / "objects").glob("[0-9a-f][0-9a-f]/*")) if name == "object" else inside / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    for source in (f"git:{root}", f"commits:{root}"):
        with pytest.raises(SourceError, match="is a pipe or a device"):
            open_source(source).listing()
    place.unlink()
    place.symlink_to("/dev/zero")
    with pytest.raises(SourceError, match="is a pipe or a device"):
        open_source(f"git:{root}").listing()


def test_settings_of_a_repository_include_no_other_file(tmp_path: Path) -> None:
    root = planted(tmp_path / "repo")
    other = tmp_path / "other"
    other.write_text('[remote "origin"]\n\turl = https://github.com/secret/place\n')
    config = root / ".git" / "config"
    config.write_text(config.read_text() + f"[include]\n\tpath = {other}\n[include]\n\tpath = /dev/zero\n")
    assert set(open_source(f"git:{root}").listing().repositories) == {"folder:repo"}


@pytest.mark.parametrize(
    "url",
    ["https://github.com/a\x1b[31m/b", "https://github.com/../../x", "git@github.com:a b/c", "https://h/" + "n" * 5000],
)
def test_a_hostile_remote_names_nothing_that_could_lead_elsewhere(tmp_path: Path, url: str) -> None:
    root = planted(tmp_path / "repo")
    config = root / ".git" / "config"
    config.write_text(config.read_text() + f'[remote "origin"]\n\turl = "{url}"\n')
    read_or_refused(f"git:{root}", tmp_path / "store", root)
    for name in open_source(f"git:{root}").listing().repositories:
        assert name.isprintable() and ".." not in name.split("/")


def test_a_work_tree_whose_link_leads_nowhere_says_so(tmp_path: Path) -> None:
    for number, target in enumerate(("gitdir: .git\n", "gitdir: /dev/zero\n", "gitdir: ../gone\n", "\xff", "")):
        root = tmp_path / str(number)
        root.mkdir()
        (root / ".git").write_text(target, encoding="latin-1")
        with pytest.raises(SourceError) as error:
            open_source(f"git:{root}").listing()
        assert str(root) in str(error.value) and str(error.value).isprintable()
