"""CodeXGLUE's code-to-text (Lu et al. 2021), by path: what a function does, in a sentence."""

from __future__ import annotations

import re
from typing import Final

from starloom.evals.tasks import stops
from starloom.evals.tasks.multilingual_tasks import languages_of, slug
from starloom.evals.tasks.standalone import Standalone
from starloom.evals.tasks.task import Published, Task
from starloom.problems import Problem

OPENING: Final = {"Python": '\n""" ', "Ruby": "\n=begin "}  # tasks/codexglue_code_to_text.py; every other language: /*
GOAL: Final = "The goal of this function is to:\n"
RAW: Final = re.compile(r"^r(?=[\sA-Z\"'])")
QUOTES: Final = ('"""', "'''")


def prompt(problem: Problem) -> str:
    """The function without its description, and a comment that asks for one."""
    code = problem.prompt
    if problem.language == "Python":
        before, found, after = code.partition(problem.description)
        if found:  # the published code holds its docstring
            before = before.strip().removesuffix(QUOTES[0]).strip().removesuffix(QUOTES[1])
            for quotes in QUOTES:
                before, after = before.split(quotes)[0], after.replace(quotes, "")
            code = before.rstrip() + after
    return code + OPENING.get(problem.language or "", "\n/* ") + GOAL


def instruction(problem: Problem) -> str:
    return f"{prompt(problem)}\nAnswer with one sentence."  # our choice


def first_line(problem: Problem, text: str) -> str:
    return text.strip().split("\n")[0]


def reference(problem: Problem) -> str:
    """The description's words as the data has them, without the `r` of a raw docstring.

    The harness takes an `r` away from every description that begins with one, and so from "returns"; and it joins the words
    as Moses does, which is undone where BLEU parts words and marks again.
    """
    words = problem.solutions[0].replace("\n", "")
    return RAW.sub("", words)


def _way(language: str) -> Standalone:
    stop = stops.DOCSTRING if language == "Python" else stops.LINE
    return Standalone(prompt, stop, language, instruction=instruction, fenced="no", read=first_line)


def _task(language: str) -> Task:
    way = _way(language)
    return Task(
        f"code-to-text:{slug(language)}",
        f"{language} functions in a sentence, smoothed BLEU-4 (Lu et al. 2021), by path",
        ("code-to-text",),
        language,
        "complete",
        Published(1, 0.0, 128, 1.0, "bigcode-evaluation-harness: greedy, n 1; tokens are our choice"),
        way.ask,
        way.solution,
        "starloom.evals.judges.text:judge_bleu",
        canonical=reference,
        metric="bleu",
    )


TASKS: Final = tuple(_task(language) for language in languages_of("code-to-text"))
