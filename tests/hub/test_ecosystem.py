"""What huggingface_hub and transformers, and `starloom.load`, make of what is published."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from published_models import NAME, published, trained

import starloom
from starloom.errors import CheckpointError, DamagedError, HubError
from starloom.hub import Repository
from starloom.models.revisions import Name, locate

OFFLINE = """
import json, sys, warnings
warnings.simplefilter("error")
import transformers
from huggingface_hub import get_cached_repo_tree, scan_cache_dir, snapshot_download, try_to_load_from_cache
from transformers import AutoModelForCausalLM, AutoTokenizer
name, *revisions = sys.argv[1:]
said = {}
for revision in revisions:
    model = AutoModelForCausalLM.from_pretrained(name, revision=revision)
    words = AutoTokenizer.from_pretrained(name, revision=revision)
    ids = words("def value", return_tensors="pt")["input_ids"]
    tree = get_cached_repo_tree(name, revision=revision)
    said[revision] = {
        "weights": model.transformer.wte.weight.double().sum().item(),
        "text": words.decode(ids[0]),
        "folder": snapshot_download(name, revision=revision, local_files_only=True),
        "tree": sorted([file.path, file.size] for file in tree),
    }
scan = scan_cache_dir()
said["warnings"] = [str(one) for one in scan.warnings]
said["refs"] = {one.commit_hash: sorted(one.refs) for repo in scan.repos for one in repo.revisions}
said["default"] = AutoTokenizer.from_pretrained(name).decode([1])
try:
    AutoModelForCausalLM.from_pretrained(name, revision="nofim")
except OSError as error:
    said["error"] = str(error)
print("SAID", json.dumps(said))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    run = trained(folder / "store", 1, (10,), "no-fim")
    published(folder / "hub", run, also=("main",))
    published(folder / "hub", trained(folder / "store", 2, (), "fim"), "fim")
    return folder / "hub"


def commits(hub: Path) -> list[str]:
    repository = Repository(hub, Name.parse(NAME))
    return [commit.id for commit in repository.log(repository.revisions()["no-fim"])]


def test_transformers_loads_by_name_revision_and_commit_without_a_network(hub: Path) -> None:
    import numpy as np

    from starloom.models import checkpoint

    final, earlier = commits(hub)
    environment = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    asked = [sys.executable, "-c", OFFLINE, NAME, "main", "no-fim", "fim", earlier]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.partition("SAID ")[2])
    for revision in ("main", "no-fim", "fim", earlier):
        folder = locate(NAME, revision, hub)
        ours = checkpoint.load_arrays(folder)["transformer.wte.weight"].astype(np.float64).sum()
        assert abs(said[revision]["weights"] - ours) < 1e-6 * abs(ours)
        assert said[revision]["folder"] == str(folder.resolve())
        assert said[revision]["text"] == "def value"
        assert said[revision]["tree"] == sorted([path.name, path.stat().st_size] for path in folder.iterdir())
    assert said["no-fim"]["weights"] == said["main"]["weights"] != said[earlier]["weights"]
    assert said["warnings"] == []
    assert said["refs"] == {final: ["main", "no-fim"], earlier: [], locate(NAME, "fim", hub).name: ["fim"]}
    assert "couldn't connect" in said["error"]  # what we say instead is below


def test_load_opens_a_published_model_by_name_revision_or_commit(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final, earlier = commits(hub)
    by_name = starloom.load(NAME, hub=hub)
    assert (
        by_name.complete("def", max_tokens=2).text
        == starloom.load(f"{NAME}@{final}", hub=hub).complete("def", max_tokens=2).text
    )
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    assert starloom.load(f"{NAME}@fim").name == f"{NAME}@fim"
    assert starloom.load(NAME, revision=earlier).name == f"{NAME}@{earlier}"
    assert starloom.generator(NAME).complete("def", max_tokens=2).text == by_name.complete("def", max_tokens=2).text


@pytest.mark.parametrize("how", ["revision", "at"])
def test_an_unknown_revision_names_those_that_exist(hub: Path, how: str) -> None:
    with pytest.raises(
        HubError, match=r"no revision 'nofim' .* did you mean 'no-fim'\? its revisions: fim, main, no-fim"
    ):
        if how == "revision":
            starloom.load(NAME, revision="nofim", hub=hub)
        else:
            starloom.load(f"{NAME}@nofim", hub=hub)


def test_the_beginning_of_a_commit_leads_to_the_whole(hub: Path) -> None:
    with pytest.raises(HubError, match=f"did you mean the commit {commits(hub)[1]}"):
        locate(NAME, commits(hub)[1][:8], hub)


def test_an_unknown_model_names_those_that_exist(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"no model 'me/santacode' .* did you mean 'me/santacoder'"):
        starloom.load("me/santacode", hub=hub)
    with pytest.raises(HubError, match=r"nothing is published there"):
        starloom.load("me/santacoder", hub=tmp_path)


def test_a_folder_comes_before_a_name(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    Path(NAME).mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        starloom.load(NAME)
    with pytest.raises(CheckpointError, match="is a folder, which has no revisions"):
        starloom.load(NAME, revision="main")


@pytest.mark.parametrize("text", ["../../etc/passwd", "a/b/c", "me/../x", "me/x@../../y", "/me/x", "me"])
def test_no_name_leads_out_of_the_hub_folder(hub: Path, text: str) -> None:
    with pytest.raises(HubError):
        locate(text, None, hub)


def test_a_ref_to_nothing_is_named(tmp_path: Path) -> None:
    published(tmp_path / "hub", trained(tmp_path / "store", 1))
    (tmp_path / "hub" / "models--me--santacoder" / "refs" / "no-fim").write_text("0" * 40)
    with pytest.raises(DamagedError, match="whose snapshot is gone"):
        locate(NAME, "no-fim", tmp_path / "hub")
    (tmp_path / "hub" / "models--me--santacoder" / "refs" / "no-fim").write_bytes(b"\xff../../x")
    with pytest.raises(DamagedError, match="is no commit"):
        locate(NAME, "no-fim", tmp_path / "hub")
