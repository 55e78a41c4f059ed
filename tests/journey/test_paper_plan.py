"""The published runs as data, their plans beside what was published, and the command that prints them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from starloom.cli import dispatch
from starloom.errors import ConfigError
from starloom.models.presets import SANTACODER_MHA
from starloom.recipes import RECIPES, compared, paper_plan
from starloom.recipes.published import PUBLISHED, VARIANTS, Figure, Published
from starloom.stage import Stage
from starloom.tokens.fim import FIM
from starloom.train import Pretrain, Steps
from starloom.train.formulas import FORMULAS
from starloom.train.plan import DAY


class Tokens(Stage):
    """Stands for packed tokens."""


def said(name: str, start: str) -> str:
    return next(one for one in compared.sentences(PUBLISHED[name]) if one.startswith(start))


def differing(one: Published, other: Published) -> set[str]:
    fields = {field.name for field in dataclasses.fields(one.run)}
    return {name for name in fields if getattr(one.run, name) != getattr(other.run, name)}


def test_each_variant_of_santacoder_differs_from_the_base_in_what_its_card_says() -> None:
    base = PUBLISHED["santacoder-fim"]
    expected = {name: set[str]() for name in VARIANTS} | {
        "mha": {"model"},
        "no-fim": {"fim"},
        "final": {"steps", "schedule"},
    }
    found = {name: differing(one, base) for name, one in zip(VARIANTS, compared.variants(), strict=True)}
    assert found == expected
    assert PUBLISHED["santacoder-mha"].run.model == SANTACODER_MHA
    assert PUBLISHED["santacoder-no-fim"].run.fim == FIM(0.0, 0.5)
    assert PUBLISHED["santacoder"].run.steps == 2 * base.run.steps == base.run.schedule.length


@pytest.mark.parametrize("name", [name for name, one in PUBLISHED.items() if one.run.padded is None])
def test_pretrain_takes_the_settings_of_a_published_run(name: str) -> None:
    published = PUBLISHED[name]
    run, layout = published.run, published.layout
    stage = Pretrain(Tokens(), **published.plan.pretrain())
    assert stage.batch * stage.accumulate == run.batch
    assert stage.batch == layout.data * layout.micro_batch  # each copy of the model takes a micro-batch at a time
    assert stage.keep.every == (run.save_every or 0)
    assert (stage.model, stage.optimizer, stage.budget) == (run.model, run.optimizer, Steps(run.steps))


@pytest.mark.parametrize("one", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_every_figure_has_its_sentence_and_every_run_its_memory(one: Published) -> None:
    sentences = compared.sentences(one)
    labels = [compared.LABELS.get(figure.what, figure.what) for figure in one.figures]
    assert [text.partition(":")[0] for text in sentences[: len(labels)]] == labels
    assert sentences[-1].startswith("memory: ")
    assert any(text.startswith(("time: ", "device-hours: ", "tokens a second")) for text in sentences)
    for figure, text in zip(one.figures, sentences, strict=False):
        assert figure.printed in text and figure.source in text and ("[M]" in text) == (not figure.verified)


def test_santacoders_flops_are_those_of_the_formula_that_counts_as_multi_head() -> None:
    text = said("santacoder", "flops")
    assert "'narayanan' gives 2.10e21 and 'mha' 2.14e21" in text
    assert "6ND gives 1.59e21" in text and "'model' 1.87e21" in text
    assert "32.7% by the published FLOPs" in said("santacoder", "time")


def test_starcoderbase_7b_saw_a_trillion_tokens_in_250k_steps() -> None:
    assert "250,000 steps × 512 × 8,192 = 1.05T" in said("starcoderbase-7b", "tokens")


def test_the_hours_of_the_gpteacher_fine_tune_were_not_spent_on_matrix_products() -> None:
    share = compared.implied(PUBLISHED["starcoder_gpteacher"])
    assert share is not None and share < 0.05
    assert "most of the time went elsewhere" in said("starcoder_gpteacher", "time")


def test_adafactor_is_why_one_device_held_the_instruct_model() -> None:
    plan = PUBLISHED["starcoder2_instruct"].plan
    assert plan.fits
    assert "AdamW with masters" in said("starcoder2_instruct", "memory")


def test_a_published_time_and_its_utilization_are_one_figure() -> None:
    one = PUBLISHED["starcoderbase-15b"]
    share = compared.implied(one)
    assert share is not None
    plan = dataclasses.replace(one.plan, utilization=share)
    assert plan.seconds / DAY == pytest.approx(24)


@pytest.mark.parametrize(
    ("value", "figure", "same"),
    [
        (1.0486e12, 1e12, True),
        (7.33e9, 7e9, True),
        (15.96e9, 15e9, False),
        (35.65e9, 35e9, False),
        (2.102e21, 2.1e21, True),
    ],
)
def test_a_figure_is_met_where_it_is_the_count_rounded_to_its_digits(value: float, figure: float, same: bool) -> None:
    assert compared.rounds_to(value, Figure("tokens", figure, "", "")) == same


def test_plan_all_lists_every_published_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["plan", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(PUBLISHED)]] == list(PUBLISHED)


def test_plan_at_paper_scale_shows_every_formula_and_all_variants(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["plan", "santacoder", "--scale", "paper"]) == 0
    out = capsys.readouterr().out
    assert all(f" {name} " in out for name in (*FORMULAS, *VARIANTS))


def test_plan_json_holds_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "plan",
        "starcoderbase-7b",
        "--hardware",
        "a100-80gb",
        "--devices",
        "256",
        "--utilization",
        "0.45",
        "--json",
    ]
    assert dispatch(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == 250_000 * 512 * 8192
    assert found["layout"]["devices"] == 256 and found["layout"]["data"] == 128
    assert found["seconds"] == pytest.approx(found["flops"]["model"]["total"] / (256 * 312e12 * 0.45))


def test_a_runnable_recipe_is_planned_at_paper_scale_only_when_asked() -> None:
    name = next(iter(PUBLISHED))
    assert paper_plan.wanted([name, "--scale", "paper"], [name]) and paper_plan.wanted([name, "--scale=paper"], [name])
    assert not paper_plan.wanted([name], [name]) and not paper_plan.wanted([name, "--scale", "mini"], [name])
    assert not paper_plan.wanted([name, "--scale", "paper", "--set", "mix.seed=1"], [name])
    assert paper_plan.wanted([name], []) and not paper_plan.wanted(["quickstart", "--scale", "paper"], list(RECIPES))


def test_the_quickstarts_plan_says_parameters_operations_and_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    assert (
        dispatch(["plan", "quickstart", "--source", str(tmp_path), "--steps", "7", "--store", str(tmp_path / "store")])
        == 0
    )
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("pretrain"))
    assert "3.61M parameters, 14.3K tokens" in row and "FLOPs" in row and "min here" in row


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["santacodr"], "did you mean 'santacoder'"),
        (["--all", "santacoder"], "--all lists every recipe"),
        (["starcoderbase-1b", "--devices", "100"], "batch of 128"),
        (["starcoderbase-1b", "--hardware", "a100"], "no hardware 'a100'"),
        (["starcoderbase-1b", "--utilization", "45"], "utilization"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dispatch(["plan", *argv])
