"""Sampling, judging and figures, each a stage of its own, and the command that drives them."""

from starloom.evals.harness.given import Given
from starloom.evals.harness.results import Results
from starloom.evals.harness.sample import Sample
from starloom.evals.harness.score import Score

__all__ = ["Given", "Results", "Sample", "Score"]
