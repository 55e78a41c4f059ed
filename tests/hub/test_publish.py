"""What is published is whole, stays as it was, and appears at once or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import published_models as small
import pytest
from published_models import CARD, NAME, flip, kept, published, trained

from starloom import store
from starloom.errors import BusyError, CheckpointError, DamagedError, HubError, StarloomError
from starloom.hub import Repository, publish
from starloom.hub.verify import verify
from starloom.models.revisions import Name
from starloom.store import Built


class Cut(BaseException):
    """Stands for the death of the process."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A finished run with two kept checkpoints."""
    return trained(tmp_path_factory.mktemp("store"), 1, (10, 20), "no-fim")


def repository(hub: Path) -> Repository:
    return Repository(hub, Name.parse(NAME))


def everything(hub: Path) -> dict[str, bytes | str]:
    """Every file below a folder, temporary ones and locks left out, links as where they lead."""
    paths = {path.relative_to(hub).as_posix(): path for path in hub.rglob("*")}
    return {
        name: str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for name, path in paths.items()
        if (path.is_symlink() or path.is_file()) and "/.starloom/tmp/" not in name
    }


def test_publishing_twice_makes_no_second_commit(run: Built, tmp_path: Path) -> None:
    first = published(tmp_path, run, also=("main",))
    before = everything(tmp_path)
    assert published(tmp_path, run, also=("main",)) == first
    assert everything(tmp_path) == before
    assert not list((repository(tmp_path).own / "tmp").iterdir())


def test_the_commits_of_a_revision_are_its_checkpoints_in_order_and_then_the_model(run: Built, tmp_path: Path) -> None:
    head = published(tmp_path, run)
    log = repository(tmp_path).log(head.id)
    assert [(commit.step, commit.final) for commit in log] == [(30, True), (20, False), (10, False)]
    assert {commit.fingerprint for commit in log} == {run.fingerprint}
    assert {commit.directory for commit in log} == {run.directory.name}
    for commit, (_, folder) in zip(log[1:], reversed(kept(run)), strict=True):
        weights = repository(tmp_path).snapshot(commit.id) / "model.safetensors"
        assert weights.read_bytes() == (folder / "model.safetensors").read_bytes()
        assert sorted(commit.files) == sorted(
            {"README.md", *(path.name for path in folder.iterdir())} - {"optimizer.safetensors"}
        )


def test_ids_are_those_that_git_computes(run: Built, tmp_path: Path) -> None:
    from dulwich import objects

    head = published(tmp_path, run)
    for commit in repository(tmp_path).log(head.id):
        tree = objects.Tree()
        for name in commit.files:
            content = (repository(tmp_path).snapshot(commit.id) / name).read_bytes()
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(content).hexdigest()
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
                content = pointer.encode()
            tree.add(name.encode(), 0o100644, objects.Blob.from_string(content).id)
        theirs = objects.Commit()
        theirs.tree = tree.id
        theirs.parents = [commit.parent.encode()] if commit.parent else []
        theirs.author = theirs.committer = b"starloom <>"
        theirs.author_time = theirs.commit_time = theirs.author_timezone = theirs.commit_timezone = 0
        theirs.message = commit.message.encode()
        theirs.check()
        assert theirs.id.decode() == commit.id


def test_what_is_published_outlives_its_store(tmp_path: Path) -> None:
    built = trained(tmp_path / "store", 1, (10,))
    published(tmp_path / "hub", built)
    shutil.rmtree(tmp_path / "store")
    assert verify(repository(tmp_path / "hub")) == []


def test_editing_a_small_file_of_the_run_in_place_changes_nothing_published(tmp_path: Path) -> None:
    built = trained(tmp_path / "store", 1)
    published(tmp_path / "hub", built)
    for path in built.directory.glob("*.json"):
        flip(path)
    assert verify(repository(tmp_path / "hub")) == []


def test_weights_take_no_second_room_on_the_same_disk(run: Built, tmp_path: Path) -> None:
    head = published(tmp_path / "hub", run)
    for revision in ("fim", "stars"):
        published(tmp_path / "hub", run, revision)
    blob = repository(tmp_path / "hub").blob(head.files["model.safetensors"])
    assert blob.samefile(run.directory / "model.safetensors")
    large = [path for path in blob.parent.iterdir() if len(path.name) == 64]
    assert len(large) == 3  # two checkpoints and the model, in three revisions


def test_where_no_hard_link_can_be_made_files_are_copied(
    run: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_disk(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    head = published(tmp_path, run)
    blob = repository(tmp_path).blob(head.files["model.safetensors"])
    assert not blob.samefile(run.directory / "model.safetensors") and verify(repository(tmp_path)) == []


def test_a_later_run_goes_on_top_and_an_earlier_one_can_come_back(run: Built, tmp_path: Path) -> None:
    first = published(tmp_path, run)
    other = trained(tmp_path / "store", 2, (10,))
    second = published(tmp_path, other)
    third = published(tmp_path, run)
    log = repository(tmp_path).log(third.id)
    assert [commit.fingerprint == run.fingerprint for commit in log] == [True, False, False, True, True, True]
    assert first.id in {commit.id for commit in log} and second.id == third.parent
    assert third.tree == first.tree and published(tmp_path, run) == third


def test_scores_that_come_later_make_one_more_commit(run: Built, tmp_path: Path) -> None:
    first = published(tmp_path, run)
    scored = publish(
        tmp_path, NAME, "no-fim", run, kept(run), about=replace(CARD, scores=(("held-out bits per byte", "2.10"),))
    )
    assert scored.parent == first.id
    assert "| held-out bits per byte | 2.10 |" in (
        repository(tmp_path).snapshot(scored.id) / "README.md"
    ).read_text().replace("–", "-")


def test_a_new_revision_can_start_from_a_commit(run: Built, tmp_path: Path) -> None:
    base = published(tmp_path, run, "base")
    other = trained(tmp_path / "store", 2)
    head = publish(tmp_path, NAME, "python", other, parent=base.id)
    assert head.parent == base.id
    assert publish(tmp_path, NAME, "python", other, parent=base.id) == head
    with pytest.raises(HubError, match="does not descend from"):
        publish(tmp_path, NAME, "base", run, parent=head.id)
    with pytest.raises(HubError, match="has no commit 'abc'"):
        publish(tmp_path, NAME, "new", run, parent="abc")


def test_the_card_says_what_it_is_and_that_it_is_not_the_published_weights(run: Built, tmp_path: Path) -> None:
    head = published(tmp_path, run)
    text = (repository(tmp_path).snapshot(head.id) / "README.md").read_text()
    for said in ("A mini model", "These are not the published weights", "santacoder", "Apache-2.0", run.fingerprint):
        assert said in text
    earlier = (repository(tmp_path).snapshot(head.parent or "") / "README.md").read_text()
    assert "This is a checkpoint on the way" in earlier and "This is a checkpoint on the way" not in text


def test_a_process_that_dies_at_any_write_leaves_the_old_revision_or_the_new_one(
    run: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place where the disk is touched: sync, rename, link, copy, symbolic link."""
    left = 10**9

    def counting(real):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left == 0:
                raise Cut
            return real(*arguments, **options)

        return call

    other = trained(tmp_path / "store", 2, (10,))
    hub = tmp_path / "before"
    old = published(hub, other, also=("main",)).id
    straight = tmp_path / "straight"
    shutil.copytree(hub, straight, symlinks=True)
    new = published(straight, run, also=("main",)).id
    for owner, name in (
        (store, "fsync"),
        (Path, "replace"),
        (os, "link"),
        (shutil, "copyfile"),
        (Path, "symlink_to"),
        (Path, "write_bytes"),
        (Path, "mkdir"),
    ):
        monkeypatch.setattr(owner, name, counting(getattr(owner, name)))
    cut, place = 0, 1
    while True:
        folder = tmp_path / "cut"
        shutil.copytree(hub, folder, symlinks=True)
        left = place
        try:
            published(folder, run, also=("main",))
            break
        except Cut:
            cut += 1
        left = 10**9
        now = repository(folder).revisions()  # raises for a ref to nothing
        assert set(now) == {"no-fim", "main"} and set(now.values()) <= {old, new}
        assert verify(repository(folder)) == []
        published(folder, run, also=("main",))
        assert everything(folder) == everything(straight)
        shutil.rmtree(folder)
        place += 1 + place // 4  # ever larger strides: every place at first, then a few of each kind
    assert cut > 12


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "README.md"])
def test_one_flipped_bit_is_found_and_named_and_publishing_again_mends_it(tmp_path: Path, file: str) -> None:
    built = trained(tmp_path / "store", 1)
    head = published(tmp_path / "hub", built)
    here = repository(tmp_path / "hub")
    blob = here.blob(head.files[file])
    data = blob.read_bytes()
    blob.unlink()  # so that the run keeps its own
    blob.write_bytes(data)
    flip(blob)
    (problem,) = verify(here)
    assert blob.name in problem and f"{head.id}/{file}" in problem
    assert published(tmp_path / "hub", built) == head and verify(here) == []


@pytest.mark.parametrize("what", ["record", "ref", "tree", "link", "snapshot", "extra", "blob", "foreign"])
def test_what_is_not_as_it_was_written_is_found(tmp_path: Path, what: str) -> None:
    built = trained(tmp_path / "store", 1, (10,))
    head = published(tmp_path / "hub", built)
    here = repository(tmp_path / "hub")
    snapshot = here.snapshot(head.id)
    if what == "record":
        flip(here.own / "commits" / f"{head.id}.json")
    elif what == "ref":
        flip(here.root / "refs" / "no-fim", 8)
    elif what == "tree":
        (here.root / "trees" / f"{head.id}.json").unlink()
    elif what == "link":
        (snapshot / "config.json").unlink()
        (snapshot / "config.json").symlink_to("../../blobs/" + head.files["README.md"].blob)
    elif what == "snapshot":
        shutil.rmtree(snapshot)
    elif what == "extra":
        (snapshot / "code.py").write_text("import this\n")
    elif what == "blob":
        here.blob(head.files["model.safetensors"]).unlink()
    elif what == "foreign":
        shutil.copytree(snapshot, here.root / "snapshots" / ("0" * 40), symlinks=True)
    problems = verify(here)
    assert problems
    if what not in ("extra", "foreign"):
        assert published(tmp_path / "hub", built) == head and verify(here) == []


def test_two_that_publish_at_once_do_not_mix(run: Built, tmp_path: Path) -> None:
    published(tmp_path, run)
    with repository(tmp_path).lock(), pytest.raises(BusyError, match="another process is publishing"):
        published(tmp_path, run)


BAD_NAMES = [
    "../x",
    "a/b/c",
    "a",
    "",
    "a/",
    "/a",
    "a/..",
    "a/b\n",
    "a/b\0",
    "a//b",
    "a/-b",
    "a--b/c",
    "a/b.git",
    "é/b",
    "a/" + "b" * 95,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_cannot_be_a_name_is_refused(run: Built, tmp_path: Path, name: str) -> None:
    with pytest.raises(HubError, match="is no name of a model"):
        published(tmp_path / "hub", run, name=name)
    assert not (tmp_path / "hub").exists()


BAD_REVISIONS = [
    "",
    "..",
    "../x",
    "a/../b",
    ".a",
    "a.lock",
    "a b",
    "a\x1b[1m",
    "a@{1}",
    "HEAD",
    "refs/pr/1",
    "0" * 40,
    "x" * 101,
]


@pytest.mark.parametrize("revision", BAD_REVISIONS)
def test_what_cannot_be_a_revision_is_refused(run: Built, tmp_path: Path, revision: str) -> None:
    with pytest.raises(HubError, match=r"(no|the) name of a revision"):
        published(tmp_path / "hub", run, revision)
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("revision", ["main/x", "MAIN", "a", "a/b/c", "A/x"])
def test_revisions_that_would_lie_in_each_other_s_way_are_refused(run: Built, tmp_path: Path, revision: str) -> None:
    published(tmp_path, run, "a/b", also=("main",))
    before = everything(tmp_path)
    if revision == "A/x":
        published(tmp_path, run, "a/x")  # beside a/b: no clash
        before = everything(tmp_path)
        revision = "A/X"
    with pytest.raises(HubError, match=r"differ in upper|beside which there can be no"):
        published(tmp_path, run, revision)
    assert everything(tmp_path) == before


def test_revisions_that_clash_with_each_other_write_nothing(run: Built, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="cannot both be revisions"):
        published(tmp_path / "hub", run, "main/x", also=("main",))
    assert not (tmp_path / "hub").exists()


def test_a_name_that_differs_in_case_only_is_refused(run: Built, tmp_path: Path) -> None:
    published(tmp_path, run)
    with pytest.raises(HubError, match=r"'Me/santacoder' and the 'me/santacoder' .* upper and lower case"):
        published(tmp_path, run, name="Me/santacoder")


def test_a_downloaded_model_is_not_written_over(run: Built, tmp_path: Path) -> None:
    (tmp_path / "models--me--santacoder" / "snapshots" / ("0" * 40)).mkdir(parents=True)
    with pytest.raises(HubError, match="not published by starloom"):
        published(tmp_path, run)


def _pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _code(folder: Path) -> None:
    (folder / "modeling_x.py").write_text("import os\n")


def _folder(folder: Path) -> None:
    (folder / "onnx").mkdir()


def _link(folder: Path) -> None:
    (folder / "merges.txt").symlink_to("/etc/hostname")


def _unlisted(folder: Path) -> None:
    (folder / "vocab.json").write_text("{}")


def _huge(folder: Path) -> None:
    (folder / "config.json").write_text("{" + " " * 2**20 + "}")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _flipped(folder: Path) -> None:
    flip(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (_pickle, HubError, "pytorch_model.bin"),
        (_code, HubError, "modeling_x.py"),
        (_folder, HubError, "onnx"),
        (_link, HubError, "merges.txt"),
        (_unlisted, HubError, "not in the manifest"),
        (_huge, CheckpointError, "larger than"),
        (_no_weights, CheckpointError, "has no model.safetensors"),
        (_flipped, DamagedError, "differs from its SHA-256"),
    ],
)
def test_a_folder_that_is_not_as_it_was_trained_is_refused(
    tmp_path: Path,
    spoil,
    error: type[StarloomError],
    said: str,  # type: ignore[no-untyped-def]
) -> None:
    built = trained(tmp_path / "store", 1)
    spoil(built.directory)
    with pytest.raises(error, match=said):
        published(tmp_path / "hub", built)
    assert not (tmp_path / "hub").exists()


def test_a_checkpoint_of_no_run_is_checked_too(run: Built, tmp_path: Path) -> None:
    small.write_model(tmp_path / "elsewhere", 5)
    assert publish(tmp_path / "hub", NAME, "x", run, [(5, tmp_path / "elsewhere")]).step == 30
    _code(tmp_path / "elsewhere")
    with pytest.raises(HubError, match="modeling_x"):
        publish(tmp_path / "hub", NAME, "x", run, [(5, tmp_path / "elsewhere")])
