"""Benchmark problems as data: what decontamination must not find in a corpus, and what evaluation asks."""

from starloom.problems.benchmarks import BENCHMARKS, Benchmark
from starloom.problems.load import digest_of, load
from starloom.problems.problem import Problem

__all__ = ["BENCHMARKS", "Benchmark", "Problem", "digest_of", "load"]
