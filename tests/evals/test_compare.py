"""The comparison of variants: its figures are those of the evaluations, its intervals those of the files or seeds."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import untrained

from starloom import report, train
from starloom.errors import ConfigError
from starloom.evals import Compare, HeldOut, Infilling, intervals
from starloom.evals.compared_runs import Run, common_files
from starloom.models import presets
from starloom.report import comparison
from starloom.stage import Stage
from starloom.store import Built
from starloom.tokens.fim import FIM
from starloom.train.budget import Steps
from starloom.train.settings import Heldout

LN2 = math.log(2)
TINY = replace(presets.QUICKSTART, n_layer=1, n_embd=32, n_head=2, n_inner=64, n_positions=untrained.CONTEXT)


@dataclass(frozen=True, slots=True)
class Made:
    """Stages of three variants, built, and what was made of them."""

    journey: untrained.Journey
    where: Path
    scores: tuple[HeldOut, ...]
    infillings: tuple[Infilling, ...]
    stage: Compare
    built: Built

    @property
    def found(self) -> dict[str, Any]:
        return dict(json.loads(self.built.read_bytes("comparison.json")))


def pretrain(packed: Stage, **changes: Any) -> Stage:
    settings: dict[str, Any] = {
        "model": TINY, "fim": FIM(0.5, 0.5), "budget": Steps(2), "batch": 2, "precision": "fp32", "heldout": Heldout(times=0),
    }  # fmt: skip
    return train.Pretrain(packed, **{**settings, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """mha (trained), mqa without FIM (trained), and random weights."""
    journey = untrained.journey(untrained.source(tmp_path_factory.mktemp("source"), packages=8))
    where = tmp_path_factory.mktemp("store")
    bases = (
        pretrain(journey.packed, model=replace(TINY, multi_query=False)),
        pretrain(journey.packed, fim=FIM(0, 0)),
        untrained.Untrained(journey.packed, seed=1),
    )
    scores = tuple(HeldOut(base, journey.packed, journey.clean) for base in bases)
    infillings = tuple(Infilling(base, journey.clean, problems=5, max_tokens=3) for base in bases)
    stage = Compare(
        scores, infillings, ("mha", "no-fim", "random"), about=("the base", "no FIM", "<untrained>"), resamples=300
    )
    built = untrained.built([*scores, *infillings, stage], where)
    return Made(journey, where, scores, infillings, stage, built[-1])


def table(made: Made, number: int) -> list[dict[str, Any]]:
    (score,) = untrained.built([made.scores[number]], made.where)
    return list(score.table("files.parquet").to_pylist())


def test_bits_per_byte_are_those_of_the_scores_with_the_bootstrap_over_files(made: Made) -> None:
    for number, one in enumerate(made.found["variants"]):
        (score,) = untrained.built([made.scores[number]], made.where)
        results = json.loads(score.read_bytes("results.json"))
        assert one["bits_per_byte"]["all"]["value"] == pytest.approx(results["bits_per_byte"]["model"])
        for name in ("Python", "JavaScript"):
            figure = one["bits_per_byte"][name]
            assert figure["value"] == pytest.approx(results["languages"][name]["bits_per_byte"]["model"])
            rows = [row for row in table(made, number) if row["language"] == name]
            bits = [row["nats"] / LN2 for row in rows]
            expected = intervals.ratio(bits, [row["model_bytes"] for row in rows], resamples=300)
            assert (figure["low"], figure["high"]) == pytest.approx((expected.low, expected.high))
            assert figure["over"] == "files"


def test_a_difference_is_paired_by_file(made: Made) -> None:
    base, other = table(made, 0), table(made, 2)
    columns = [
        [row[key] / unit for row in rows] for rows in (other, base) for key, unit in (("nats", LN2), ("model_bytes", 1))
    ]
    expected = intervals.difference(*columns, resamples=300)
    found = made.found["variants"][2]["difference"]["bits_per_byte"]["all"]
    assert [found[key] for key in ("value", "low", "high")] == pytest.approx(list(expected))
    assert made.found["variants"][0]["difference"] is None


def test_exact_match_is_that_of_the_infillings_and_missing_where_nothing_was_asked(made: Made) -> None:
    for number, one in enumerate(made.found["variants"]):
        (built,) = untrained.built([made.infillings[number]], made.where)
        rates = json.loads(built.read_bytes("exact_match.json"))["exact_match"]
        assert set(one["exact_match"]) == set(rates)
        for mode, by_language in rates.items():
            assert {name: figure["value"] for name, figure in one["exact_match"][mode].items()} == {
                name: rate["exact_match"] for name, rate in by_language.items()
            }
    assert set(made.found["variants"][1]["exact_match"]) == {"left_to_right"}
    assert any("not asked to infill: no-fim" in note for note in made.found["notes"])


def test_what_hidden_lines_cost_is_that_of_the_infillings_and_the_gain_is_paired(made: Made) -> None:
    for number, one in enumerate(made.found["variants"]):
        (built,) = untrained.built([made.infillings[number]], made.where)
        rates = json.loads(built.read_bytes("exact_match.json"))["exact_match"]
        for mode, by_language in rates.items():
            for name, rate in by_language.items():
                assert one["line_bits_per_byte"][mode][name]["value"] == pytest.approx(rate["bits_per_byte"])
        if "infilling" in rates:
            gain = rates["infilling"]["all"]["bits_per_byte"] - rates["left_to_right"]["all"]["bits_per_byte"]
            assert one["line_bits_per_byte"]["gain"]["all"]["value"] == pytest.approx(gain)
        else:
            assert "gain" not in one["line_bits_per_byte"]


def test_what_a_variant_is_and_how_it_was_trained_is_told(made: Made) -> None:
    mha, no_fim, random = made.found["variants"]
    assert (mha["attention"], no_fim["attention"]) == ("multi-head", "multi-query")
    assert mha["parameters"] > no_fim["parameters"]
    assert (mha["training"]["steps"], mha["training"]["tokens"]) == (2, 2 * 2 * untrained.CONTEXT)
    assert mha["training"]["tokens_per_s"] > 0
    assert random["training"] is None


def test_decoding_is_measured_once_for_each_architecture(made: Made) -> None:
    speeds = [one["decoding"] for one in made.found["variants"]]
    assert all(set(one) == {"1", "8"} and min(one.values()) > 0 for one in speeds)
    assert speeds[1] == speeds[2] != speeds[0]


def test_seeds_give_means_and_students_intervals(made: Made) -> None:
    bases = [untrained.Untrained(made.journey.packed, seed=seed) for seed in (1, 2, 3, 4)]
    scores = [HeldOut(base, made.journey.packed, made.journey.clean) for base in bases]
    stage = Compare(tuple(scores), names=("a", "b", "a", "b"), decoding=False, base="b")
    *each, built = untrained.built([*scores, stage], made.where)
    values = [json.loads(one.read_bytes("results.json"))["bits_per_byte"]["model"] for one in each]
    found = json.loads(built.read_bytes("comparison.json"))
    assert [one["name"] for one in found["variants"]] == ["b", "a"]
    mean = intervals.over_seeds([values[1], values[3]])
    gap = intervals.over_seeds([values[0] - values[1], values[2] - values[3]])
    b, a = found["variants"]
    for figure, expected in ((b["bits_per_byte"], mean), (a["difference"]["bits_per_byte"], gap)):
        assert [figure["all"][key] for key in ("value", "low", "high")] == pytest.approx(list(expected))
        assert figure["all"]["over"] == "seeds"
    assert (b["seeds"], b["decoding"], b["exact_match"]) == (2, None, {})
    assert "2 seeds each" in found["notes"][0]


def test_one_seed_is_said_to_tell_nothing_of_others(made: Made) -> None:
    assert made.found["notes"][0].startswith("One seed each")
    assert "say nothing of what another seed would have given" in " ".join(made.stage.closing(made.built).split())


def test_only_files_that_all_models_scored_count(made: Made) -> None:
    few = HeldOut(made.scores[0].base, made.journey.packed, made.journey.clean, limit_bytes=1000)
    stage = Compare((few, made.scores[2]), names=("few", "all"), decoding=False)
    (built,) = untrained.built([stage], made.where)
    found = json.loads(built.read_bytes("comparison.json"))
    assert 0 < found["files"] < len(table(made, 2))
    assert any("that all did count" in note for note in found["notes"])


def test_nothing_held_out_is_said(made: Made) -> None:
    runs = [Run("one", made.built, {}, {}), Run("other", made.built, {}, {})]
    with pytest.raises(ConfigError, match=r"nothing was held out.*raise mix\.heldout"):
        common_files(runs)


def test_the_terminal_shows_every_variant_within_its_width(made: Made) -> None:
    shown = made.stage.closing(made.built)
    assert max(map(len, shown.split("\n"))) <= 120
    for one in made.found["variants"]:
        figure = one["bits_per_byte"]["all"]
        assert re.search(
            rf"  {one['name']} +{figure['value']:.3f} \[{figure['low']:.3f}, {figure['high']:.3f}\]", shown
        )


def test_eight_variants_of_the_published_names_fit_into_120_columns(made: Made) -> None:
    found = made.found
    figure = {"value": 1.234, "low": 1.2, "high": 1.3, "over": "files"}
    one = {
        **found["variants"][0],
        "bits_per_byte": dict.fromkeys(("all", "Python", "Java", "JavaScript"), figure),
        "exact_match": {mode: dict.fromkeys(("all", "Python", "Java", "JavaScript"), figure) for mode in ("left_to_right", "infilling")},
        "difference": {"bits_per_byte": {"all": {**figure, "value": -1.2}}, "exact_match": {}},
        "line_bits_per_byte": {mode: {"all": figure} for mode in ("left_to_right", "infilling", "gain")},
        "parameters": 1_100_000_000, "decoding": {"1": 12345.0, "8": 23456.0},
        "training": {"steps": 600_000, "tokens": 236e9, "seconds": 535_680, "tokens_per_s": 441_000},
    }  # fmt: skip
    lines = {
        mode: dict.fromkeys(("all", "Python", "Java", "JavaScript"), 200) for mode in ("left_to_right", "infilling")
    }
    names = ("mha", "no-fim", "fim", "stars", "fertility", "comments", "dedup-alt", "final")
    wide = {
        **found,
        "languages": ["Python", "Java", "JavaScript"],
        "lines": lines,
        "variants": [{**one, "name": name} for name in names],
        "notes": [],
    }
    assert max(map(len, comparison.render(wide).split("\n"))) <= 120


def test_the_card_is_markdown_in_which_no_name_is_markup(made: Made) -> None:
    card = made.built.read_bytes("comparison.md").decode()
    assert "| mha | " in card
    assert "&#60;untrained&#62;" in card
    assert "<untrained>" not in card
    widths = {line.count("|") for line in card.split("\n") if line.startswith("| ") and "bits per byte" in line}
    assert len(widths) == 1


def test_the_page_shows_the_variants_and_their_intervals(made: Made) -> None:
    page = report.Report((*made.scores, *made.infillings, made.stage))
    (built,) = untrained.built([page], made.where)
    html = built.read_bytes("report.html").decode()
    assert '<h2 id="variants">' in html
    assert html.count('<circle cx="') >= 2
    assert "&lt;untrained&gt;" in html
    assert "<untrained>" not in html
    for one in made.found["variants"]:
        assert comparison.interval(one["bits_per_byte"]["all"]) in html


def test_the_curve_of_a_run_ends_in_its_own_score(made: Made) -> None:
    bases = tuple(score.base for score in made.scores[:2])
    page = report.Report((*bases, *made.scores, made.stage))
    built = dict(zip(("page", "mha", "no-fim"), untrained.built([page, *made.scores[:2]], made.where), strict=True))
    html = built["page"].read_bytes("report.html").decode()
    for name in ("mha", "no-fim"):
        score = json.loads(built[name].read_bytes("results.json"))["bits_per_byte"]["model"]
        assert f"held out {score:.3f}" in html
    assert "Held-out text, bits per byte" not in html  # each has its row in the comparison


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"names": ("one",)}, "names has 1 entries for 3"),
        ({"base": "mqa"}, "base is 'mqa', and the models are mha, no-fim, random"),
        ({"scores": ()}, r"scores is empty"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"resamples": 0}, "resamples is 0"),
        ({"about": ("one",)}, "about has 1 entries"),
    ],
)
def test_what_does_not_fit_together_is_refused(made: Made, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        replace(made.stage, **change)


def test_infillings_of_other_models_are_refused(made: Made) -> None:
    stage = replace(made.stage, infillings=made.infillings[::-1], decoding=False)
    with pytest.raises(ConfigError, match=r"infillings\[0\] is of another model than compare.scores\[0\], 'mha'"):
        untrained.built([stage], made.where)
