"""Infilling exact match: gaps put back are the function, chance is a function, and no answer is asked for twice."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import untrained
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import ConfigError, GenerationError
from starloom.evals import Infilling, infilling
from starloom.evals.held_out_files import HeldOutFile
from starloom.evals.line_gaps import chosen_problems, is_exact, is_first_line, line_gaps, problems_in
from starloom.models.causal_lm import load_model
from starloom.stage import Runtime, Stage, build
from starloom.store import Built, Store
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.fim import FIM


def file(number: int, text: str, language: str = "Python") -> HeldOutFile:
    return HeldOutFile(bytes([number]) * 16, "folder:project", b"a", language, text)


FILES = [file(n, untrained.PYTHON.format(n=n)) for n in range(8)]
FILES += [file(n + 8, untrained.SCRIPT.format(n=n), "JavaScript") for n in range(3)]


@given(st.lists(st.sampled_from(["    x = 1", "", "  # a note", "    }", "\ty()"]), max_size=8))
def test_a_gap_put_back_is_the_function_without_its_comments(body: list[str]) -> None:
    bare = [line for line in body if not line.lstrip().startswith("#")]
    gaps = line_gaps("def f():", body, "Python")
    assert [gap.truth for gap in gaps] == [line for line in bare if line.strip()]
    for gap in gaps:
        assert body[gap.number] == gap.truth
        whole = "\n".join(["def f():", *bare])
        assert [*gap.prefix.split("\n"), gap.truth, *(gap.suffix.split("\n") if gap.suffix else [])] == whole.split(
            "\n"
        ) or whole == f"{gap.prefix}\n{gap.truth}\n{gap.suffix}"


def test_a_hidden_line_is_the_line_of_the_file() -> None:
    for one in FILES:
        found = list(problems_in(one))
        assert found
        assert len({problem.line for problem in found}) == len(found)
        for problem in found:
            assert one.text.split("\n")[problem.line - 1] == problem.truth


def test_signatures_and_descriptions_are_never_hidden_and_a_closing_brace_may_be() -> None:
    python = {problem.truth.strip() for problem in problems_in(FILES[0])}
    assert "total = one + other" in python
    assert not any(line.startswith(("def ", '"""', "or ", "#")) for line in python)
    script = list(problems_in(FILES[8]))
    assert script[-1].truth == "}"
    assert all(problem.suffix.endswith("}") for problem in script[:-1])


def test_every_file_has_its_say_before_any_has_a_second() -> None:
    found = chosen_problems(FILES, ("Python", "JavaScript"), 10, seed=0)
    assert [one.file.language for one in found] == ["Python"] * 10 + ["JavaScript"] * 10
    assert len({one.file.id for one in found[:8]}) == 8
    assert len({(one.file.id, one.line) for one in found}) == 20


def test_problems_depend_on_the_seed_and_not_on_the_order_of_files() -> None:
    names = [
        [(one.file.id, one.line) for one in chosen_problems(files, ("Python",), 12, seed)]
        for files, seed in ((FILES, 0), (FILES[::-1], 0), (FILES, 1))
    ]
    assert names[0] == names[1]
    assert names[0] != names[2]


@pytest.mark.parametrize(
    ("answer", "exact", "first_line"),
    [
        ("\n    return x\n", True, True),
        ("return x", True, True),
        ("\n    return x\n    pass", False, True),
        ("\n\n  return x  \n", True, True),
        ("\n    return x + 1", False, False),
        ("", False, False),
    ],
)
def test_a_middle_counts_as_a_whole_and_a_continuation_by_its_first_line(
    answer: str, exact: bool, first_line: bool
) -> None:
    assert is_exact("    return x", answer) is exact
    assert is_first_line("    return x", answer) is first_line


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> untrained.Journey:
    return untrained.journey(untrained.source(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module")
def stage(journey: untrained.Journey) -> Infilling:
    return Infilling(journey.base, journey.clean, problems=4, max_tokens=6)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def answered(stage: Infilling, where: Path) -> Built:
    return untrained.built([stage], where)[0]


def rows(built: Built) -> list[dict[str, Any]]:
    return [json.loads(line) for line in built.read_bytes("infilling.jsonl").splitlines()]


def test_both_modes_are_asked_about_the_same_lines(answered: Built) -> None:
    asked = [
        [(row["id"], row["line"], row["truth"], row["settings"]) for row in rows(answered) if row["mode"] == mode]
        for mode in ("infilling", "left_to_right")
    ]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 8
    assert answered.counts["problems"] == {"Python": 4, "Java": 0, "JavaScript": 4}
    assert all(row["error"] is None and (0 < row["tokens"] <= 6 or row["stopped_by"]) for row in rows(answered))


def test_rates_are_those_of_the_rows_and_say_that_the_task_is_derived(answered: Built) -> None:
    made_up = [
        {**row, "nats": None, "exact": number % 3 == 0, "first_line": number % 2 == 0}
        for number, row in enumerate(rows(answered))
    ]
    rates = infilling.exact_match(made_up)
    for mode, key in (("infilling", "exact"), ("left_to_right", "first_line")):
        own = [row for row in made_up if row["mode"] == mode]
        assert rates[mode]["all"]["exact_match"] == sum(row[key] for row in own) / 8
        assert set(rates[mode]) == {"all", "Python", "JavaScript"}
    results = json.loads(answered.read_bytes("exact_match.json"))
    assert results["task"].startswith("derived")
    assert results["exact_match"] == infilling.exact_match(rows(answered))


def test_what_a_line_costs_is_that_of_a_plain_forward(stage: Infilling, answered: Built, where: Path) -> None:
    (base,) = untrained.built([stage.base], where)
    model, words = load_model(base.directory), Vocabulary.load(base)
    controls = [words.control(name) for name in ("fim_prefix", "fim_suffix", "fim_middle")]
    scored = 0
    for row in rows(answered):
        prefix, suffix, line = (words.encode(text) for text in (row["prefix"], row["suffix"], "\n" + row["truth"]))
        prompt = [controls[0], *prefix, controls[1], *suffix, controls[2]] if row["mode"] == "infilling" else prefix
        if len(prompt) + len(line) > untrained.CONTEXT:
            continue  # of such a prompt an end is kept
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *line]]))[0, len(prompt) - 1 : -1].double()
        assert row["nats"] == pytest.approx(
            F.cross_entropy(logits, torch.tensor(line), reduction="sum").item(), rel=1e-4
        )
        assert row["line_bytes"] == len(row["truth"].encode()) + 1
        scored += 1
    assert scored
    rates = json.loads(answered.read_bytes("exact_match.json"))["exact_match"]
    for mode, by_language in rates.items():
        own = [row for row in rows(answered) if row["mode"] == mode and row["nats"] is not None]
        bits = sum(row["nats"] for row in own) / math.log(2) / sum(row["line_bytes"] for row in own)
        assert by_language["all"]["bits_per_byte"] == pytest.approx(bits)


def test_a_killed_build_goes_on_and_asks_for_nothing_twice(
    stage: Infilling, answered: Built, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, asked, killed = Infilling.row, [], replace(stage, max_tokens=5)

    def count(self: Infilling, mode: infilling.Mode, *rest: Any) -> dict[str, Any]:
        found = row(self, mode, *rest)
        asked.append((mode, found["id"], found["line"]))
        if len(asked) == 5:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Infilling, "row", count)
    with pytest.raises(KeyboardInterrupt):
        build(killed, Store(where), Runtime(save_every_s=0.0))
    again = build(killed, Store(where), Runtime())
    assert len(asked) == 17  # the fifth was not kept
    assert [row_["truth"] for row_ in rows(again)] == [row_["truth"] for row_ in rows(answered)]
    assert set(again.manifest["files"]) == set(answered.manifest["files"])


@dataclass(frozen=True, slots=True)
class WithoutFIM(untrained.Untrained):
    """A model whose training never cut a file."""

    fim: FIM = FIM(rate=0)  # noqa: RUF009


def test_a_model_that_never_learned_to_infill_is_asked_from_the_left_only(
    journey: untrained.Journey, where: Path
) -> None:
    base: Stage = WithoutFIM(journey.packed)
    stage = Infilling(base, journey.clean, problems=2, max_tokens=2)
    (built,) = untrained.built([stage], where)
    assert {row["mode"] for row in rows(built)} == {"left_to_right"}
    assert "trained without fill-in-the-middle" in stage.closing(built)


def test_an_answer_that_failed_counts_as_wrong_and_tells_why(stage: Infilling) -> None:
    one = chosen_problems(FILES, ("Python",), 1, seed=0)[0]
    row = stage.row("infilling", replace(one, truth=""), GenerationError("no room"))
    assert (row["exact"], row["first_line"], row["error"]) == (False, False, "no room")


def test_nothing_held_out_gives_no_problems_and_says_so(tmp_path: Path) -> None:
    journey = untrained.journey(untrained.source(tmp_path, packages=1), heldout=0)
    stage = Infilling(journey.base, journey.clean)
    (built,) = untrained.built([stage], tmp_path / "store")
    assert stage.closing(built).startswith("Nothing was held out")
    assert built.manifest["summary"] == "nothing to infill"


def test_impossible_settings_are_refused(journey: untrained.Journey) -> None:
    with pytest.raises(ConfigError, match=r"infilling\.problems is 0"):
        Infilling(journey.base, journey.clean, problems=0)
    with pytest.raises(ConfigError, match="'Jave'; did you mean 'Java'"):
        Infilling(journey.base, journey.clean, languages=("Jave",))
