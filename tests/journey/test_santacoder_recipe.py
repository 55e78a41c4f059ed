"""The eight variants: each differs from the base as published and in nothing else, and all are measured alike."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from starloom.errors import ConfigError
from starloom.recipes.published import PUBLISHED
from starloom.recipes.santacoder import SCALES, VARIANTS, santacoder
from starloom.stage import Identities

CARD = ("mha", "no-fim", "fim", "stars", "fertility", "comments", "dedup-alt", "final")  # in the model card's order


def differing(one, other) -> set[str]:
    return {item.name for item in dataclasses.fields(one) if getattr(one, item.name) != getattr(other, item.name)} - {
        "about",
        "label",
    }


def test_each_variant_differs_from_the_base_in_one_setting_and_final_as_the_card_says():
    assert tuple(VARIANTS) == CARD
    assert {name: differing(one, VARIANTS["fim"]) for name, one in VARIANTS.items()} == {
        "mha": {"multi_query"},
        "no-fim": {"fim"},
        "fim": set(),
        "stars": {"rules"},
        "fertility": {"fertility"},
        "comments": {"rules"},
        "dedup-alt": {"stronger_dedup"},
        "final": {"rules", "stronger_dedup", "times"},
    }


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_runs_share_tokenizer_steps_and_what_they_are_measured_on(scale):
    steps = santacoder("folder:.", scale=scale).steps()
    runs = {name: steps[f"pretrain:{name}"] for name in CARD}
    base = runs["fim"]
    expected = {"mha": {"model"}, "no-fim": {"fim"}, "fim": set(), "final": {"packed", "budget", "keep"}}
    for name, run in runs.items():
        assert differing(run, base) == expected.get(name, {"packed"}), name
        assert run.packed.vocab is base.packed.vocab
        measured = steps[f"held_out:{name}"]
        assert (measured.packed, measured.clean) == (base.packed, base.packed.clean)
        assert steps[f"infilling:{name}"].clean == base.packed.clean
        assert run.packed is base.packed or run.packed.clean.measured_as == base.packed.clean
        assert run.budget.steps == base.budget.steps * (2 if name == "final" else 1)
    assert differing(runs["mha"].model, base.model) == {"multi_query"}


def test_mixes_differ_in_the_one_thing_that_their_variant_is_about():
    steps = santacoder("folder:.").steps()
    base = steps["mix:base"]
    expected = {
        "stars": {"verdicts"}, "fertility": {"verdicts"}, "comments": {"verdicts"}, "dedup-alt": {"groups"},
        "final": {"verdicts", "groups"},
    }  # fmt: skip
    for name, fields in expected.items():
        assert differing(steps[f"mix:{name}"], base) == {*fields, "measured_as"}, name
    assert steps["mix:dedup-alt"].groups == steps["mix:final"].groups
    assert set(steps["mix:comments"].verdicts) == set(steps["mix:final"].verdicts)


def test_the_paper_scale_has_the_published_values():
    run, published = santacoder("folder:.", scale="paper").steps()["pretrain:fim"], PUBLISHED["santacoder-fim"].run
    assert run.batch * run.accumulate == published.batch == 192
    assert (run.budget.steps, run.optimizer, run.fim, run.precision) == (
        published.steps, published.optimizer, published.fim, published.precision,
    )  # fmt: skip
    assert run.model == published.model and SCALES["paper"].context == published.context
    assert run.schedule.factor(299_999, 300_000) == pytest.approx(0.5, abs=0.02)  # half of a course of 600,000
    final = santacoder("folder:.", scale="paper").steps()["pretrain:final"]
    assert final.schedule.factor(599_999, 600_000) == pytest.approx(0, abs=1e-6)


def test_seeds_are_runs_of_their_own_and_names_that_cannot_be_are_refused():
    steps = santacoder("folder:.", variants=("fim,mha",), seeds=3).steps()
    assert [steps[f"pretrain:fim{end}"].seed for end in ("", "-seed1", "-seed2")] == [0, 1, 2]
    assert steps["compare"].names == ("mha",) * 3 + ("fim",) * 3
    with pytest.raises(ConfigError, match="fim among them"):
        santacoder("folder:.", variants=("mha",))
    with pytest.raises(ConfigError, match="use 1 or more"):
        santacoder("folder:.", seeds=0)


def test_a_variant_trains_the_same_whatever_others_are_trained():
    names = Identities()
    alone, all_ = santacoder("python:stdlib", variants=("fim",)), santacoder("python:stdlib")
    one, other = (names.of(journey.steps()["pretrain:fim"]).fingerprint for journey in (alone, all_))
    assert one == other


@pytest.mark.slow
def test_revisions_of_a_whole_run_load_by_name_in_transformers(tmp_path: Path):
    command = [
        sys.executable, "-m", "starloom", "run", "santacoder", "--sources", "python:stdlib", "--steps", "6", "--json",
        "--variants", "mha,no-fim,fim,final", "--store", str(tmp_path / "store"), "--set", "infilling:fim.problems=5",
    ]  # fmt: skip
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert set(told["published"]["me/santacoder"]) == {"mha", "no-fim", "fim", "final", "main"}
    code = """
import sys, transformers
for revision in ("mha", "no-fim", "fim", "final", "main", sys.argv[1]):
    model = transformers.AutoModelForCausalLM.from_pretrained("me/santacoder", revision=revision)
    print(revision, model.config.multi_query)
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "store" / "hub"), "HF_HUB_OFFLINE": "1"}
    commit = told["published"]["me/santacoder"]["final"]
    out = subprocess.run(
        [sys.executable, "-c", code, commit], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert out.split() == [
        "mha", "False", "no-fim", "True", "fim", "True", "final", "True", "main", "True", commit, "True",
    ]  # fmt: skip
