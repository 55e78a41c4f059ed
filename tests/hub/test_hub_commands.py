"""`starloom hub`, as it is typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hub_server import Hub, serving
from published_models import NAME, flip, published, trained

from starloom.cli import dispatch
from starloom.errors import ConfigError, HubError
from starloom.hub import Repository
from starloom.models.revisions import Name


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "starloom-store" / "hub"  # the default, from the working folder
    published(folder, trained(tmp_path / "store", 1, (10,), "no-fim"), also=("main",))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return folder


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = dispatch(["hub", *argv])
    return code, capsys.readouterr().out


def test_list_names_models_and_revisions(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "list")[1].startswith(f"{NAME}  ")
    assert said(capsys, "list")[1].endswith("main, no-fim\n")
    (model,) = json.loads(said(capsys, "list", "--json")[1])["models"]
    assert model["model"] == NAME and set(model["revisions"]) == {"main", "no-fim"} and model["bytes"] > 80_000


def test_a_damaged_model_does_not_hide_the_others(
    hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(hub, trained(tmp_path / "store", 2), name="me/another")
    (hub / "models--me--santacoder" / "refs" / "main").write_text("0" * 40)
    text = said(capsys, "list")[1]
    assert "me/another" in text and "main, no-fim" in text and "whose snapshot is gone" in text


def test_a_downloaded_model_is_listed_and_its_bytes_are_checked(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(hub / "models--me--santacoder" / ".starloom")
    assert NAME in said(capsys, "list")[1] and said(capsys, "verify")[0] == 0
    with pytest.raises(HubError, match="was not published by starloom"):
        dispatch(["hub", "show", NAME])
    flip(next((hub / "models--me--santacoder" / "blobs").iterdir()))
    assert said(capsys, "verify")[0] == 1


def test_complete_takes_a_published_model(hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--prompt", "def", "--max-tokens", "2"]
    assert dispatch(["complete", f"{NAME}@no-fim", *asked]) == 0
    by_default = capsys.readouterr().out
    hub.rename(tmp_path / "elsewhere")
    assert dispatch(["complete", f"{NAME}@no-fim", "--hub", str(tmp_path / "elsewhere"), *asked]) == 0
    assert capsys.readouterr().out == by_default
    with pytest.raises(HubError, match="--hub or hub= names another folder"):
        dispatch(["complete", f"{NAME}@no-fim", *asked])


def test_an_empty_hub_folder_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "list", "--hub", str(tmp_path)) == (0, f"nothing is published in {tmp_path}\n")


def test_the_hub_folder_is_the_flag_s_then_the_variable_s_then_the_store_s(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert "elsewhere" in said(capsys, "list")[1]
    assert NAME in said(capsys, "list", "--hub", str(hub))[1]


def test_show_gives_the_way_of_a_revision_and_its_files(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = said(capsys, "show", NAME)[1].splitlines()
    assert [row.split()[0] for row in rows] == ["main", "no-fim"] and all("2 commits" in row for row in rows)
    one = said(capsys, "show", f"{NAME}@no-fim")[1]
    assert "trained:no-fim, step 30, final" in one and "trained:no-fim, step 10  " in one and "model.safetensors" in one
    commits = json.loads(said(capsys, "show", f"{NAME}@no-fim", "--json")[1])["commits"]
    assert [commit["step"] for commit in commits] == [30, 10] and commits[0]["parent"] == commits[1]["id"]
    by_commit = json.loads(said(capsys, "show", f"{NAME}@{commits[1]['id']}", "--json")[1])["commits"]
    assert by_commit == commits[1:]


def test_show_of_an_unknown_revision_names_those_that_exist(hub: Path) -> None:
    with pytest.raises(HubError, match=r"did you mean 'no-fim'\? its revisions: main, no-fim"):
        dispatch(["hub", "show", f"{NAME}@nofim"])
    with pytest.raises(HubError, match=f"published there: {NAME}"):
        dispatch(["hub", "show", "me/other"])


def test_verify_names_the_flipped_bit_and_fails(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "verify")[0] == 0
    repository = Repository(hub, Name.parse(NAME))
    blob = repository.blob(repository.log(repository.revisions()["main"])[0].files["tokenizer.json"])
    flip(blob)
    code, text = said(capsys, "verify", NAME)
    assert code == 1 and blob.name in text and "tokenizer.json" in text
    code, text = said(capsys, "verify", "--json")
    assert code == 1 and len(json.loads(text)["models"][NAME]) == 1
    with pytest.raises(HubError, match="did you mean 'me/santacoder'"):
        dispatch(["hub", "verify", "me/santacode"])


@pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
def test_push_sends_the_token_of_the_named_variable(
    hub: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "saved for another hub")
    monkeypatch.setenv("HUB_TOKEN", "right")
    with serving(Hub(token="right")) as server:
        asked = ["push", NAME, "--to", "them/copy", "--endpoint", server.url]
        with pytest.raises(HubError, match="Invalid credentials"):
            dispatch(["hub", *asked])
        assert server.tokens == {None}
        code, text = said(capsys, *asked, "--token-env", "HUB_TOKEN", "--public", "--json")
        assert code == 0 and json.loads(text)["made"] == 2 and server.private == {"them/copy": False}
        assert "2 commits" in said(capsys, "show", NAME)[1]
        assert "0 new commits" in said(capsys, *asked, "--token-env", "HUB_TOKEN")[1]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--token-env", "NOT_SET_ANYWHERE"], "names NOT_SET_ANYWHERE, which is not set"),
        (["--endpoint", "hub.example"], "is an address such as"),
        (["--endpoint", "http://hub.example", "--token-env", "HOME"], "in the clear; use https"),
        (["--endpoint", "https://me:secret@hub.example"], "is an address such as"),
        (["--tok", "x"], "No such option"),
    ],
)
def test_what_push_cannot_do_is_said_before_anything_is_sent(hub: Path, argv: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        dispatch(["hub", "push", NAME, "--to", "them/copy", *argv])


def test_an_unknown_verb_is_named_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"no command 'hub lst'; did you mean 'list'\?"):
        dispatch(["hub", "lst"])
    assert "Usage: starloom hub COMMAND" in said(capsys)[1]
