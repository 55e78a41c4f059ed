from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from completion_server import says as server_says
from completion_server import serving
from hypothesis import given
from hypothesis import strategies as st
from scripted import ScriptedBackend, says, vocabulary

from starloom.errors import ConfigError, GenerationError, SourceError
from starloom.generate import commands, session
from starloom.generate.commands import Position

MIDDLE = "\n    return größe  # 日本語"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ScriptedBackend:
    """`load` gives a model that says MIDDLE and ends the document, whatever the folder."""
    model, backend = says(MIDDLE)
    monkeypatch.setattr(session, "load", lambda path, **options: model)
    return backend


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_prompt_comes_from_the_flag_a_file_or_standard_input(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "def größe():\r\n\n"
    (tmp_path / "prompt.py").write_bytes(text.encode())
    pipe(monkeypatch, text.encode())
    for source in (["--prompt", text], ["--file", str(tmp_path / "prompt.py")], []):
        assert commands.complete(["model", *source]) == 0
        assert vocabulary().decode(backend.last_prompt) == text
        assert capsys.readouterr().out == MIDDLE


def test_json_is_one_object_with_all_that_made_the_text(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.complete(
        ["m", "--prompt", "def", "--stop", "größe", "--stop", "x", "--seed", "3", "--top-p", "0.9", "--json"]
    )
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    told: dict[str, Any] = json.loads(out)
    assert told["text"] == "\n    return "
    assert (told["finish_reason"], told["stopped_by"], told["model"]) == ("stop", "größe", "m")
    assert (told["settings"]["seed"], told["settings"]["top_p"], told["settings"]["stop"]) == (3, 0.9, ["größe", "x"])
    assert vocabulary().decode(told["tokens"]).startswith("\n    return grö")


def test_infill_splits_the_file_at_the_place(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "code.py"
    file.write_text("def ñ():\n\tx = (1)\n", encoding="utf-8")
    for mode in ("psm", "spm"):
        assert commands.infill(["m", "--file", str(file), "--at", "2:7", "--mode", mode]) == 0
        assert capsys.readouterr().out == MIDDLE
        expected = session.load("m").start(commands.Hole("def ñ():\n\tx = (", "1)\n", mode=mode))  # type: ignore[arg-type]
        prompt = list(backend.last_prompt)
        assert expected.completion.text == MIDDLE
        assert backend.last_prompt == prompt


@given(st.text(st.sampled_from("aé\n\r\t"), max_size=30), st.data())
def test_every_place_in_a_file_splits_it_in_two_and_no_other_is_accepted(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    line = data.draw(st.integers(1, len(lines)))
    length = len(lines[line - 1].removesuffix("\r"))
    column = data.draw(st.integers(1, length + 1))
    prefix, suffix = Position.parse(f"{line}:{column}").split(text, "f")
    assert prefix + suffix == text
    assert (prefix.count("\n") + 1, len(prefix.rpartition("\n")[2]) + 1) == (line, column)
    with pytest.raises(ConfigError, match=f"its columns are 1 to {length + 1}"):
        Position(line, length + 2).split(text, "f")
    with pytest.raises(ConfigError, match=f"outside f: it has {len(lines)} line"):
        Position(len(lines) + 1, 1).split(text, "f")


@pytest.mark.parametrize("text", ["", "3", "0:1", "1:0", "a:b", "1:2:3", "-1:2", "²:1"])
def test_a_place_that_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError, match="--at takes LINE:COLUMN, both from 1, such as 12:5, not "):
        Position.parse(text)


def test_bad_input_is_named(backend: ScriptedBackend, tmp_path: Path) -> None:
    latin = tmp_path / "latin.py"
    latin.write_bytes(b"ab\xe9")
    with pytest.raises(SourceError, match=r"latin\.py is not UTF-8 at byte 2"):
        commands.complete(["m", "--file", str(latin)])
    with pytest.raises(SourceError, match=r"absent\.py cannot be read: No such file"):
        commands.infill(["m", "--file", str(tmp_path / "absent.py"), "--at", "1:1"])
    with pytest.raises(ConfigError, match="give one"):
        commands.complete(["m", "--file", str(latin), "--prompt", "x"])
    with pytest.raises(ConfigError, match="--temprature"):
        commands.complete(["m", "--prompt", "x", "--temprature", "1"])


def test_a_terminal_shows_control_characters_instead_of_obeying_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    model, _ = says("a\x1b[31mé\t日\x7f\x9b\n")
    monkeypatch.setattr(session, "load", lambda path, **options: model)
    monkeypatch.setattr(sys, "stdout", terminal)
    commands.complete(["m", "--prompt", "x"])
    assert terminal.getvalue() == "a␛[31mé\t日\ufffd\ufffd\n\n"


def test_no_prompt_at_a_terminal_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(ConfigError, match="no prompt: give --prompt TEXT or --file FILE"):
        commands.complete(["m"])


def test_several_completions_are_told_apart_and_each_is_another_draw(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.complete(["m", "--prompt", "x", "--n", "2"]) == 0
    assert capsys.readouterr().out == f"--- 1 of 2\n{MIDDLE}\n--- 2 of 2\n{MIDDLE}\n"
    assert commands.complete(["m", "--prompt", "x" * 5000, "--n", "2", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert ["the prompt has" in completion["error"] for completion in told["completions"]] == [True, True]
    with pytest.raises(GenerationError, match="n is a count from 1 up, not 0"):
        commands.complete(["m", "--prompt", "x", "--n", "0"])


def test_the_flags_of_an_answer_reach_the_model(backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]) -> None:
    words = vocabulary()
    commands.complete(
        ["m", "--prompt", "x", "--response-prefix", ">>", "--stop-token", " return", "--new-document", "--json",
         "--min-p", "0.1", "--repetition-penalty", "1.5", "--keep", "both_ends"]
    )  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert backend.last_prompt == [words.end_of_document, *words.encode("x>>")]
    assert told["text"].startswith(">>\n")
    settings = told["settings"]
    assert (settings["min_p"], settings["repetition_penalty"], settings["keep"]) == (0.1, 1.5, "both_ends")
    assert settings["stop_tokens"] == [" return"]


def test_a_frame_is_text_unless_it_is_raw(backend: ScriptedBackend) -> None:
    words = vocabulary()
    frame = "<fim_prefix>a<fim_suffix>b<fim_middle>"
    for more, controls in (([], 0), (["--raw"], 3)):
        commands.complete(["m", "--prompt", frame, *more])
        assert sum(map(words.is_control, backend.last_prompt)) == controls


def test_several_places_of_a_file_are_filled_in_order_or_apart(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "code.py"
    file.write_text("a()\nb()\n")
    places = ["--file", str(file), "--at", "2:3", "--at", "1:3"]
    for more in ([], ["--apart"]):
        assert commands.infill(["m", *places, *more]) == 0
        assert capsys.readouterr().out == f"a({MIDDLE})\nb({MIDDLE})\n"
    assert commands.infill(["m", *places, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [middle["text"] for middle in told["middles"]] == [MIDDLE, MIDDLE]
    with pytest.raises(ConfigError, match="--n and several --at are both given"):
        commands.infill(["m", *places, "--n", "2"])


def test_a_server_or_a_file_stands_where_a_folder_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(server_says("from afar")) as server:
        assert commands.complete([f"openai:{server.url}#m", "--prompt", "x"]) == 0
        assert capsys.readouterr().out == "from afar"
        assert server.bodies[0]["stream"] is True
        file = tmp_path / "code.py"
        file.write_text("ab\n")
        assert commands.infill([f"{server.url}#m,infill=suffix", "--file", str(file), "--at", "1:2"]) == 0
        assert (server.bodies[1]["prompt"], server.bodies[1]["suffix"]) == ("a", "b\n")
    assert capsys.readouterr().out == "from afar"
    with pytest.raises(ConfigError, match="no kind of generator is called 'opnai'"):
        commands.complete(["opnai:x", "--prompt", "x"])
    with pytest.raises(ConfigError, match="--threads is about computing here"):
        commands.complete(["http://localhost#m", "--prompt", "x", "--threads", "2"])
