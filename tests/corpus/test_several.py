"""Lists and folders of repositories: one spelling for many sources, each document once, and no repository stops another."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from dulwich.objects import Blob

from corpus.planted import by_path, made, plant, plant_git, plant_tar, rows
from starloom.corpus import License, Read
from starloom.corpus.sources import open_source
from starloom.errors import ConfigError, SourceError


def test_a_list_is_its_sources_with_paths_from_its_own_folder(tmp_path: Path) -> None:
    plant(tmp_path / "deep" / "code", {"a.py": b"a\n"})
    plant_git(tmp_path / "deep" / "repo", {b"b.py": b"1\n"}, {b"b.py": b"2\n"})
    plant_tar(tmp_path / "deep" / "x.tar.gz", {"c.py": b"c\n"})
    path = tmp_path / "deep" / "list.txt"
    path.write_text("# comment\n\nfolder:code   # another\ngit:repo\ncommits:repo\n  x.tar.gz\n")
    built = made(Read(f"list:{path}"), tmp_path / "store")
    assert [(row["kind"], row["repository"], row["path"]) for row in rows(built)] == [
        ("file", "archive:x", b"c.py"), ("file", "folder:code", b"a.py"),
        ("commit", "folder:repo", b"b.py"), ("commit", "folder:repo", b"b.py"), ("file", "folder:repo", b"b.py"),
    ]  # fmt: skip
    assert len({row["id"] for row in rows(built)}) == 5


def test_a_file_of_two_revisions_is_one_row_with_both(tmp_path: Path) -> None:
    ids = plant_git(tmp_path / "repo", {b"a.py": b"1\n", b"b.py": b"1\n"}, {b"a.py": b"1\n", b"b.py": b"2\n"})
    path = tmp_path / "list"
    path.write_text(f"git:repo@{ids[0].decode()}\ngit:repo@{ids[1].decode()}\ngit:repo\n")
    found = [
        (row["path"], row["text"], row["revisions"], len(row["dates"]))
        for row in rows(made(Read(f"list:{path}"), tmp_path / "s"))
    ]
    first, second = (one.decode() for one in ids)
    assert sorted(found) == [
        (b"a.py", "1\n", [first, second], 2),
        (b"b.py", "1\n", [first], 1),
        (b"b.py", "2\n", [second], 1),
    ]


def test_two_archives_of_a_package_share_what_they_have_alike(tmp_path: Path) -> None:
    for version in ("1", "2"):
        files = {"PKG-INFO": f"Name: x\nVersion: {version}\n", "a.py": "same\n", "b.py": version}
        plant_tar(
            tmp_path / f"x-{version}.tar.gz", {f"x-{version}/{name}": text.encode() for name, text in files.items()}
        )
    (tmp_path / "list").write_text("x-1.tar.gz\nx-2.tar.gz\n")
    found = rows(made(Read(f"list:{tmp_path / 'list'}"), tmp_path / "store"))
    assert [(row["path"], row["revisions"]) for row in found] == [
        (b"PKG-INFO", ["1"]), (b"PKG-INFO", ["2"]), (b"a.py", ["1", "2"]), (b"b.py", ["1"]), (b"b.py", ["2"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("folder:a\n\nfoldr:a\n", ConfigError, r"list:3: no kind of source 'foldr'; did you mean 'folder'"),
        ("x/missing\n", SourceError, r"list:1: source .*missing does not exist"),
        ("list:other\n", ConfigError, r"list:1 names another list"),
        ("# nothing\n", ConfigError, "names no source"),
        ("git:a@b\n", SourceError, r"list:1: git repository a does not exist"),
        (
            "pypi:attrs\n",
            ConfigError,
            r"list:1: source 'pypi:attrs' names no package and version; it is spelled pypi:NAME==VERSION",
        ),
    ],
)
def test_a_line_that_names_nothing_is_named(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(error, match=said):
        open_source(f"list:{tmp_path / 'list'}").listing()
    with pytest.raises(SourceError, match="cannot be read"):
        open_source(f"list:{tmp_path / 'nowhere'}")


def test_a_folder_of_repositories_is_read_whole_and_a_broken_one_is_named_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "all"
    for number in range(12):
        plant_git(
            root / "host" / f"owner{number % 3}" / f"r{number}", {b"a.py": b"x = %d\n" % number}, bare=number % 2 == 0
        )
    plant_git(root / "empty")
    broken = root / "host" / "owner1" / "r1" / ".git" / "objects"
    name = Blob.from_string(b"x = 1\n").id.decode()
    (broken / name[:2] / name[2:]).chmod(0o644)
    (broken / name[:2] / name[2:]).write_bytes(b"damage" * 9)
    plant_git(root / "cut", {b"a.py": b"1\n", b"b.py": b"2\n"})
    (path,) = (root / "cut" / ".git" / "refs" / "heads").iterdir()
    path.write_text("0" * 39 + "1\n")
    (root / "loop").symlink_to(root)
    with caplog.at_level(logging.WARNING, "starloom"):
        built = made(Read(f"repositories:{root}", shard_bytes=2000), tmp_path / "store")
    found = {row["repository"]: row["text"] for row in rows(built)}
    cut, empty = sorted(record.getMessage() for record in caplog.records if "left out" in record.getMessage())
    assert f"git repository {root / 'cut'}: " in cut and "is missing" in cut  # its branch leads nowhere
    assert f"git repository {root / 'empty'} has no commits" in empty
    assert built.counts["unreadable_repositories"] == 2
    assert built.counts["rows_in"] == built.counts["rows_out"] == 12 and not built.counts.get("dropped")
    assert found == {f"folder:r{n}": None if n == 1 else f"x = {n}\n" for n in range(12)}
    assert built.counts["unread"] == {"damaged": 1}
    two = made(Read(f"repositories:{root}", shard_bytes=2000), tmp_path / "two", workers=2)
    assert built.manifest["files"] == two.manifest["files"]


def test_a_blob_that_is_damaged_in_one_of_many_repositories_is_a_row_without_text(tmp_path: Path) -> None:
    for name in ("one", "two"):
        plant_git(tmp_path / "all" / name, {b"a.py": name.encode() * 50, b"b.py": b"fine\n", b"z.py": b"last\n"})
    blob = Blob.from_string(b"one" * 50).id.decode()
    path = tmp_path / "all" / "one" / ".git" / "objects" / blob[:2] / blob[2:]
    data = bytearray(path.read_bytes())
    data[-3] ^= 0xFF  # its header is still sound
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    found = rows(made(Read(f"repositories:{tmp_path / 'all'}"), tmp_path / "store"))
    assert [(row["repository"], row["path"], row["unread"]) for row in found if row["unread"]] == [
        ("folder:one", b"a.py", "damaged")
    ]
    assert len(found) == 6


def test_a_partial_clone_is_read_but_for_what_it_lacks(tmp_path: Path) -> None:
    plant_git(tmp_path / "all" / "part", {b"a.py": b"1\n", b"large.txt": b"gone\n"})
    blob = Blob.from_string(b"gone\n").id.decode()
    (tmp_path / "all" / "part" / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    found = {
        row["path"]: row["unread"] for row in rows(made(Read(f"repositories:{tmp_path / 'all'}"), tmp_path / "store"))
    }
    assert found == {b"a.py": None, b"large.txt": "damaged"}


def test_a_folder_without_repositories_says_so(tmp_path: Path) -> None:
    plant(tmp_path / "code", {"a.py": b"1\n"})
    with pytest.raises(SourceError, match="no git repositories in"):
        open_source(f"repositories:{tmp_path / 'code'}")
    with pytest.raises(SourceError, match="does not exist"):
        open_source(f"repositories:{tmp_path / 'nowhere'}")


def test_one_file_in_two_clones_of_a_repository_is_one_row(tmp_path: Path) -> None:
    for name in ("one", "two"):
        plant_git(tmp_path / "all" / name / "repo", {b"a.py": b"1\n"})
        with (tmp_path / "all" / name / "repo" / ".git" / "config").open("a") as config:
            config.write('[remote "origin"]\n\turl = https://github.com/O/Repo.git\n')
    [row] = rows(made(Read(f"repositories:{tmp_path / 'all'}"), tmp_path / "store"))
    assert by_path(made(Read(f"repositories:{tmp_path / 'all'}"), tmp_path / "store"))[b"a.py"] == row


def names_of(spelling: str, below: Path) -> dict[str, str]:
    """Name of a repository → the text of its a.py, of a list of these lines or of a source."""
    if "\n" in spelling:
        (below / "list").write_text(spelling)
        spelling = f"list:{below / 'list'}"
    listing = open_source(spelling).listing()
    texts = [raw.data or b"" for raw in open_source(spelling).read(listing.entries, 1 << 20)]
    found = {
        entry.repository: text.decode()
        for entry, text in zip(listing.entries, texts, strict=True)
        if entry.path == b"a.py" and entry.kind == "file"
    }
    assert listing.repositories.keys() == {entry.repository for entry in listing.entries}
    assert str(below) not in str([found, listing.digest])
    return found


def test_folders_of_one_name_are_told_apart_by_as_many_parents_as_that_takes(tmp_path: Path) -> None:
    for place in ("x/src", "y/src", "a/x/src", "z/own", "w/deep"):
        plant(tmp_path / place, {"a.py": place.encode()})
    lines = "folder:x/src\nfolder:y/src\nfolder:z/own\n"
    expected = {"folder:x/src": "x/src", "folder:y/src": "y/src", "folder:own": "z/own"}
    assert names_of(lines, tmp_path) == expected
    (tmp_path / "link").symlink_to(tmp_path / "x" / "src")
    again = "folder:y/src\nfolder:./x/../link\n\nfolder:x/src\nfolder:z/own\nfolder:x/src\n"
    assert names_of(again, tmp_path) == expected, "neither the order nor the spelling matters"
    three = names_of("folder:x/src\nfolder:y/src\nfolder:a/x/src\n", tmp_path)
    assert three == {f"folder:{tmp_path.name}/x/src": "x/src", "folder:y/src": "y/src", "folder:a/x/src": "a/x/src"}


def test_archives_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("x/pkg.tar.gz", "y/pkg.tar.gz", "y/pkg.tar"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        plant_tar(tmp_path / place, {"a.py": place.encode()})
    found = names_of("archive:x/pkg.tar.gz\narchive:y/pkg.tar.gz\ny/pkg.tar\ny/pkg.tar\n", tmp_path)
    assert found == {f"archive:{place}": place for place in ("x/pkg.tar.gz", "y/pkg.tar.gz", "y/pkg.tar")}


def test_repositories_without_a_remote_are_told_apart_in_lists_and_folders(tmp_path: Path) -> None:
    for place in ("g1/proj", "g2/deep/proj", "proj", "g1/one"):
        plant_git(tmp_path / "all" / place, {b"a.py": place.encode()})
    plant(tmp_path / "all", {"g1/proj/a.py": b"g1/proj"})
    plant_git(tmp_path / "all" / "g1" / "proj.git", {b"a.py": b"bare"}, bare=True)
    found = names_of("git:all/g1/proj\ngit:all/g2/deep/proj\ncommits:all/g1/proj\nfolder:all/g1/proj\n", tmp_path)
    assert found == {"folder:g1/proj": "g1/proj", "folder:deep/proj": "g2/deep/proj"}
    relative = {"folder:g1/proj": "g1/proj", "folder:g2/deep/proj": "g2/deep/proj", "folder:proj": "proj",
                "folder:one": "g1/one", "folder:g1/proj.git": "bare"}  # fmt: skip
    assert names_of(f"repositories:{tmp_path / 'all'}", tmp_path) == relative
    plant(tmp_path / "other" / "one", {"a.py": b"mine"})
    within = names_of("folder:other/one\nrepositories:all\n", tmp_path)
    assert within == {name: text for name, text in relative.items() if name != "folder:one"} | {
        "folder:g1/one": "g1/one", "folder:other/one": "mine",
    }  # fmt: skip


def test_a_license_reaches_no_other_source_of_that_name(tmp_path: Path) -> None:
    for place, files in {"x/src": {"package.json": b'{"license": "MIT"}'}, "y/src": {}}.items():
        plant(tmp_path / place, {"a.py": b"1\n", **files})
    (tmp_path / "list").write_text("folder:x/src\nfolder:y/src\n")
    read = Read(f"list:{tmp_path / 'list'}")
    licenses = {row["id"]: row["value"] for row in rows(made(License(read), tmp_path / "store"))}
    found = {
        row["repository"]: licenses[row["id"]] for row in rows(made(read, tmp_path / "store")) if row["path"] == b"a.py"
    }
    assert found == {"folder:x/src": "MIT", "folder:y/src": None}


def test_a_list_may_say_stars_where_the_source_cannot(tmp_path: Path) -> None:
    plant(tmp_path, {"known/a.py": b"a\n", "unknown/b.py": b"b\n"})
    path = tmp_path / "list"
    path.write_text("folder:known  stars=7 # counted by hand\nfolder:unknown\n")
    first = made(Read(f"list:{path}"), tmp_path / "store")
    assert {row["path"]: row["stars"] for row in rows(first)} == {b"a.py": 7, b"b.py": None}
    path.write_text("folder:known stars=8\nfolder:unknown\n")
    assert made(Read(f"list:{path}"), tmp_path / "store").fingerprint != first.fingerprint
    for wrong in ("many", "-1", "1e9", str(1 << 31)):
        path.write_text(f"folder:known stars={wrong}\n")
        with pytest.raises(ConfigError, match=f"list:1: stars={wrong} is no number"):
            made(Read(f"list:{path}"), tmp_path / "store")
