"""What each reason to drop a document means, in a sentence: from the docstring of its rule, or from the table below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import CodeType
from typing import Any

from starloom.report.outcomes import LEFT_OUT, loaded
from starloom.store import Built

# Reasons that are no rule's. A longer name is told by its beginning: `benchmark_ngrams:HumanEval/0`.
MEANINGS = {
    "another_commit_of_the_file": "Another commit of the same file stays.",
    "benchmark_minhash": "Nearly the words of a benchmark's problem.",
    "benchmark_ngrams": "Most of the token sequences of a benchmark's problem or solution, whatever its names.",
    "benchmark_substring": "A published string of a benchmark, word for word.",
    "binary": "Not text.",
    "damaged": "The source holds it damaged.",
    "down_sampled": "Left out by chance, because its language, kind or source is to have less weight.",
    "exact_duplicate": "Another file with the same bytes stays.",
    "few_characters_per_token": "Many tokens for its length, as data and hashes have.",
    "kind_not_in_layout": "The training format has no form for its kind.",
    "near_duplicate": "Another file with nearly the same tokens stays.",
    "held_out_elsewhere": "Of a group that the mix this one is measured as holds out.",
    "near_duplicate_of_heldout": "Nearly the same as a held-out file, which is kept for measuring.",
    "not_a_notebook": "Named as a notebook, and none.",
    "not_utf8": "Text in an encoding other than UTF-8.",
    "nul_bytes": "Text with NUL bytes.",
    "null_content": "The source has no content for it.",
    "opted_out": "Its author or owner asked to be left out.",
    "too_large": "Larger than what is read.",
    "unreadable": "It could not be opened.",
    LEFT_OUT: "No training format could be made of it.",
}


def meanings(reasons: Sequence[str], verdicts: Sequence[Built]) -> dict[str, str]:
    """Reason → one sentence, empty where nothing is known. Rules are those that the verdicts' settings name."""
    rules = [rule for one in verdicts for rule in functions(one.manifest["settings"])]
    return {reason: _of_rules(reason, rules) or _of_table(reason) for reason in reasons}


def functions(settings: object) -> Iterator[Any]:
    """The functions that settings name, as `module:name`, where their module is loaded."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if key == "function" and isinstance(value, str):
                found = loaded(value)
                if hasattr(found, "__code__"):
                    yield found
            else:
                yield from functions(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from functions(value)


def _of_rules(reason: str, rules: Sequence[Any]) -> str:
    for rule in rules:
        if rule.__doc__ and reason in _constants(rule.__code__.co_consts):
            return " ".join(rule.__doc__.partition("\n\n")[0].split())
    return ""


def _constants(values: Sequence[object]) -> Iterator[str]:
    """The texts in the constants of a function: what it can return is among them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            yield from _constants(value)
        elif isinstance(value, CodeType):
            yield from _constants(value.co_consts)


def _of_table(reason: str) -> str:
    return MEANINGS.get(reason.partition(":")[0], "")
