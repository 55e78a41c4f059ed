"""Exact match and BLEU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.evals.bench import Bench
from starloom.evals.judges.text import bleu, judge_bleu, judge_exact
from starloom.problems import Problem

sentences = st.lists(st.sampled_from(["the", "a", "list", "of", "is", ",", ".", "x_y", "3.5"]), min_size=1).map(
    " ".join
)


def test_a_hidden_line_is_matched_but_for_blanks_around() -> None:
    problem = Problem("infill", "x", "Python", "", "", row={"canonical_solution": "    return a\n"})
    texts = ["return a", "\n\treturn a \n", "return  a", "return a\n    x", ""]
    verdicts = list(judge_exact(Bench(), [(problem, text) for text in texts]))
    assert [verdict.passed for verdict in verdicts] == [True, True, False, False, False]
    assert {verdict.strength for verdict in verdicts} == {"text"}


# Computed by CodeXGLUE's script (as the BigCode harness carries it), on its words after the split of marks.
@pytest.mark.parametrize(
    ("reference", "candidate", "score"),
    [
        ("Return the sum of two numbers.", "Return the sum of two numbers .", 1.0),
        ("Return the sum of two numbers.", "returns the sum of numbers", 0.38107255),
        ("Return the sum of two numbers.", "Opens a file", 0.0),
        ("Check if x_y is 3.5, or not", "check whether x_y is 3.5", 0.57792398),
    ],
)
def test_bleu_is_that_of_the_published_script(reference: str, candidate: str, score: float) -> None:
    assert bleu(reference, candidate) == pytest.approx(score, abs=1e-7)


@given(sentences, sentences)
def test_bleu_is_one_for_the_reference_and_never_more(one: str, other: str) -> None:
    assert bleu(one, one) == pytest.approx(1)
    assert 0 <= bleu(one, other) <= 1


@given(sentences)
def test_blanks_and_case_and_what_follows_a_tab_do_not_count(one: str) -> None:
    assert bleu(one, f"  {one.upper().replace(' ', '   ')}\tand more") == pytest.approx(1)


def test_a_sentence_has_a_score_of_its_own() -> None:
    problem = Problem("code-to-text", "x", "Go", "func f() {}", "", ("returns a list",))
    right, wrong = judge_bleu(Bench(), [(problem, "Returns a list"), (problem, "opens")])
    assert right.score == 1 and right.passed and wrong.score is not None and 0 <= wrong.score < 0.5
