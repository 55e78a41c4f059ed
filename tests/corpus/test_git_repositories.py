"""Reading git: any layout of the objects, any spelling of a revision, never a work tree, never a hook."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from dulwich.objects import Blob, Tag, Tree
from dulwich.repo import Repo

from corpus.planted import LINK, SUBMODULE, by_path, made, plant_git
from starloom.corpus.read import Read
from starloom.corpus.sources import open_source
from starloom.corpus.sources.git_objects import object_size
from starloom.corpus.sources.listing import canonical_remote
from starloom.errors import ConfigError, SourceError

OLD = {b"a.py": b"old\n", b"pkg/b.py": b"b\n"}
NEW = {b"a.py": b"new\n", b"pkg/b.py": b"b\n", b"pkg/deep/c.py": b"c\n"}


def texts(spelling: str) -> dict[bytes, bytes | None]:
    source = open_source(spelling)
    entries = source.listing().entries
    return {entry.path: raw.data for entry, raw in zip(entries, source.read(entries, 1 << 20), strict=True)}


@pytest.mark.parametrize("bare", [False, True])
def test_a_repository_is_read_at_head_without_its_work_tree(tmp_path: Path, bare: bool) -> None:
    root = tmp_path / "code.git"
    plant_git(root, OLD, NEW, bare=bare)
    if not bare:
        (root / "a.py").write_bytes(b"never committed\n")
    assert texts(str(root)) == texts(f"git:{root}") == NEW


def test_a_row_carries_commit_date_and_the_blob_that_git_knows(tmp_path: Path) -> None:
    old, new = plant_git(tmp_path / "code", OLD, NEW)
    built = made(Read(f"git:{tmp_path / 'code'}"), tmp_path / "store")
    row = by_path(built)[b"a.py"]
    assert row["revisions"] == [new.decode()]
    assert [date.timestamp() for date in row["dates"]] == [1_700_000_001]
    assert row["blob"] == Blob.from_string(b"new\n").id.decode()
    assert row["repository"] == "folder:code"
    assert old.decode() not in str(row)


def test_every_spelling_of_a_revision_leads_to_its_commit(tmp_path: Path) -> None:
    root = tmp_path / "co@de"
    old, new = plant_git(root, OLD, NEW)
    repo = Repo(str(root))
    tag = Tag()
    tag.name, tag.object, tag.message = b"v1", (type(repo[old]), old), b"first"
    tag.tagger, tag.tag_time, tag.tag_timezone = b"A <a@example.org>", 0, 0
    repo.object_store.add_object(tag)
    repo.refs[b"refs/tags/v1"] = tag.id
    repo.refs[b"refs/heads/topic/old"] = old
    repo.refs[b"refs/remotes/origin/far"] = old
    repo.close()
    for name in ("v1", "topic/old", "far", "refs/tags/v1", old.decode(), old.decode()[:8], old.decode()[:8].upper()):
        assert texts(f"git:{root}@{name}") == OLD, name
    for name in ("main", "HEAD", new.decode()[:10]):
        assert texts(f"{root}@{name}") == NEW, name


def test_packed_refs_and_packs_with_deltas_read_the_same(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git makes the deltas that are read here")
    root = tmp_path / "code"
    draw = random.Random(0)
    base = "".join(f"line {draw.random()}\n" for _ in range(400)).encode()
    files = {b"f%d.py" % n: base + b"# %d\n" % n for n in range(12)}
    plant_git(root, files)
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"], "HOME": "/"}
    subprocess.run(["git", "gc", "-q", "--aggressive"], cwd=root, check=True, env=quiet)
    verbose = subprocess.run(
        ["git", "cat-file", "--batch-check=%(objectname) %(objectsize) %(deltabase)", "--batch-all-objects"],
        cwd=root, check=True, env=quiet, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert len({line.split()[2] for line in verbose.splitlines()}) > 1, "git stored no deltas"
    repo = Repo(str(root))
    for line in verbose.splitlines():
        name, size, _ = line.split()
        assert object_size(repo, name.encode()) == int(size)
    repo.close()
    assert (root / ".git" / "packed-refs").exists()
    assert texts(f"git:{root}") == files


def test_links_and_submodules_are_skipped_and_counted(tmp_path: Path) -> None:
    special = {b"link": (LINK, b"/etc/passwd"), b"module": (SUBMODULE, b"1" * 40)}
    plant_git(tmp_path / "code", OLD, special=special)
    listing = open_source(f"git:{tmp_path / 'code'}").listing()
    assert [entry.path for entry in listing.entries] == sorted(OLD)
    assert listing.skipped == {"symbolic_link": 1, "submodule": 1}


def test_names_that_lead_outside_are_skipped_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "code"
    plant_git(root, OLD)
    repo = Repo(str(root))
    blob = Blob.from_string(b"evil")
    repo.object_store.add_object(blob)
    content = b"".join(
        b"100644 " + name + b"\0" + bytes.fromhex(blob.id.decode())
        for name in (b"..", b"a/b", b".", b"c:\\x", b"good.py")
    )
    tree = Tree.from_string(content)
    repo.object_store.add_object(tree)
    commit = repo[repo.head()]
    commit.tree = tree.id
    repo.object_store.add_object(commit)
    repo.refs[b"refs/heads/main"] = commit.id
    repo.close()
    listing = open_source(f"git:{root}").listing()
    assert [entry.path for entry in listing.entries] == [b"good.py"]
    assert listing.skipped == {"unsafe_name": 4}


def test_hooks_filters_and_settings_of_a_repository_run_nothing(tmp_path: Path) -> None:
    root = tmp_path / "code"
    plant_git(root, {**OLD, b".gitattributes": b"* filter=evil\n"})
    touched = tmp_path / "touched"
    hook = root / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {touched}\n")
    hook.chmod(0o755)
    with (root / ".git" / "config").open("a") as config:
        config.write(
            f'[core]\n\tfsmonitor = "touch {touched}"\n\tpager = "touch {touched}"\n'
            f'[filter "evil"]\n\tsmudge = "touch {touched}"\n\tclean = "touch {touched}"\n'
        )
    assert b"a.py" in texts(f"git:{root}")
    assert not touched.exists()


def test_a_large_blob_is_not_read_to_know_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "code"
    plant_git(root, {b"big.py": b"x" * 3_000_000, b"a.py": b"1\n"})
    import dulwich.object_store

    read = []
    real = dulwich.object_store.DiskObjectStore.get_raw
    monkeypatch.setattr(
        dulwich.object_store.DiskObjectStore, "get_raw", lambda self, name: read.append(name) or real(self, name)
    )
    row = by_path(made(Read(f"git:{root}"), tmp_path / "store"))[b"big.py"]
    assert (row["size"], row["text"], row["unread"]) == (3_000_000, None, "too_large")
    assert row["blob"].encode() not in read


def test_a_repository_without_commits_says_so(tmp_path: Path) -> None:
    Repo.init(str(tmp_path), mkdir=False).close()
    with pytest.raises(SourceError, match=r"has no commits; commit something, or read folder:"):
        open_source(str(tmp_path)).listing()


def test_an_unknown_revision_names_near_ones(tmp_path: Path) -> None:
    plant_git(tmp_path / "code", OLD)
    with pytest.raises(SourceError, match=r"no revision 'mian'; there are main"):
        open_source(f"git:{tmp_path / 'code'}@mian").listing()
    with pytest.raises(SourceError, match=r"no revision 'abcd1234'"):
        open_source(f"git:{tmp_path / 'code'}@abcd1234").listing()
    with pytest.raises(ConfigError, match="names no revision after the @"):
        open_source(f"git:{tmp_path / 'code'}@")


ANCESTORS = ["main", "main~", "main^", "main~0", "main^0", "main~1", "main~2", "main^2", "main^2~1", "main^^", "main~1^",
             "side~1", "{id}~1", "main^1~1^0"]  # fmt: skip


def test_ancestors_are_the_commits_that_git_says(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    ids = plant_git(tmp_path, *({b"a.py": b"%d\n" % number} for number in range(5)))
    with Repo(str(tmp_path)) as repo:
        merge = repo[ids[2]]
        merge.parents = [ids[1], ids[4]]
        repo.object_store.add_object(merge)
        repo.refs[b"refs/heads/main"], repo.refs[b"refs/heads/side"] = merge.id, ids[4]
    for spelled in (one.format(id=merge.id.decode()[:12]) for one in ANCESTORS):
        told = subprocess.run(["git", "rev-parse", spelled], cwd=tmp_path, check=True, capture_output=True, text=True)
        (repository,) = open_source(f"git:{tmp_path}@{spelled}").listing().repositories.values()
        assert repository.revision == told.stdout.strip(), spelled


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("main~9", r"no revision 'main~9': commit [0-9a-f]{12} has no parent 1"),
        ("main^2", r"no revision 'main\^2': commit [0-9a-f]{12} has no parent 2"),
        ("mian~1", r"no revision 'mian'; there are main$"),
        ("main~999999999", "has no parent 1"),
        ("main@{1}", r"no revision 'main@\{1\}'; there are main; name a branch, a tag or a commit, with ~N or \^N behind it"),
        ("main^{tree}", r"; name a branch, a tag or a commit, with ~N or \^N behind it"),
        (":/fix", "; name a branch, a tag or a commit"),
        ("~1", "; name a branch, a tag or a commit"),
    ],
)  # fmt: skip
def test_an_ancestor_that_is_not_there_or_a_spelling_that_is_not_known_says_so(
    tmp_path: Path, revision: str, said: str
) -> None:
    plant_git(tmp_path, OLD, NEW)
    with pytest.raises(SourceError, match=said):
        open_source(f"git:{tmp_path}@{revision}").listing()


def test_a_tree_or_blob_is_no_revision(tmp_path: Path) -> None:
    plant_git(tmp_path / "code", OLD)
    blob = Blob.from_string(b"old\n").id.decode()
    with pytest.raises(SourceError, match="is a blob, not a commit"):
        open_source(f"git:{tmp_path / 'code'}@{blob}").listing()


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "other_content", "bomb"])
def test_a_damaged_object_is_named(tmp_path: Path, damage: str) -> None:
    root = tmp_path / "code"
    plant_git(root, {b"a.py": b"print(1)\n" * 50})
    blob = Blob.from_string(b"print(1)\n" * 50).id.decode()
    path = root / ".git" / "objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    data = path.read_bytes()
    if damage == "flip":
        path.write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    elif damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "missing":
        path.unlink()
    elif damage == "other_content":
        path.write_bytes(zlib.compress(b"blob 4\0evil"))
    else:
        path.write_bytes(zlib.compress(b"blob 5\0" + bytes(100 << 20)))
    why = r"is damaged \(error\)" if damage == "bomb" else ""  # stopped at the size that it says, not unpacked
    with pytest.raises(SourceError, match=rf"blob {blob} \(a\.py\).*{why}.*git fsck") as caught:
        texts(f"git:{root}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/BigCode/StarLoom.git", ("github.com/bigcode/starloom", "bigcode")),
        ("https://user:secret@github.com/a/b/", ("github.com/a/b", "a")),
        ("git@github.com:Owner/Name.git", ("github.com/owner/name", "owner")),
        ("ssh://git@github.com:22/Owner/Name", ("github.com/owner/name", "owner")),
        ("git://gitlab.com/group/sub/name.git", ("gitlab.com/group/sub/name", "group")),
        ("/home/someone/code", None),
        ("../code", None),
        ("file:///srv/code.git", None),
        ("https://github.com/onlyowner", None),
        ("https://github.com/../../etc", None),
        ("https://[broken", None),
        ("", None),
    ],
)
def test_a_remote_becomes_a_canonical_repository(url: str, expected: tuple[str, str] | None) -> None:
    assert canonical_remote(url) == expected


def test_a_clone_is_named_after_its_remote_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("one", "two"):
        plant_git(tmp_path / name, OLD)
        with (tmp_path / name / ".git" / "config").open("a") as config:
            config.write('[remote "origin"]\n\turl = git@github.com:Some/Thing.git\n')
    one, two = (made(Read(str(tmp_path / name)), tmp_path / f"{name}-store") for name in ("one", "two"))
    row = by_path(one)[b"a.py"]
    assert (row["repository"], row["owner"]) == ("github.com/some/thing", "some")
    assert one.fingerprint == two.fingerprint


def test_a_repository_that_borrows_from_itself_ends_in_one_line(tmp_path: Path) -> None:
    root = tmp_path / "code"
    plant_git(root, {b"a.py": b"1\n"})
    objects = root / ".git" / "objects"
    (objects / "info").mkdir(exist_ok=True)
    (objects / "info" / "alternates").write_text(f"{objects}\n")
    with pytest.raises(SourceError, match="borrows objects from itself"):
        texts(f"git:{root}")


def test_objects_borrowed_from_another_repository_are_read(tmp_path: Path) -> None:
    plant_git(tmp_path / "lender", OLD)
    plant_git(tmp_path / "borrower", OLD)
    objects = tmp_path / "borrower" / ".git" / "objects"
    shutil.rmtree(objects)
    (objects / "info").mkdir(parents=True)
    (objects / "info" / "alternates").write_text(f"{tmp_path / 'lender' / '.git' / 'objects'}\n")
    assert texts(f"git:{tmp_path / 'borrower'}") == OLD


def test_a_date_that_no_calendar_holds_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "code"
    plant_git(root, OLD)
    repo = Repo(str(root))
    commit = repo[repo.head()]
    commit.commit_time = 10**15
    repo.object_store.add_object(commit)
    repo.refs[b"refs/heads/main"] = commit.id
    repo.close()
    assert by_path(made(Read(f"git:{root}"), tmp_path / "store"))[b"a.py"]["dates"] == []
