"""What stands before a prompt: controls by name, and their text encoded together with the prompt's."""

from __future__ import annotations

import pytest
from scripted import vocabulary

from starloom.errors import TokenizerError
from starloom.generate.generators.completions_file import digest
from starloom.generate.prompts import Prompts
from starloom.generate.protocol import Header, Prompt

SAID = "solutions/solution_1.py\n# Here is the correct implementation of the code exercise\n"


def test_the_text_behind_the_last_control_is_encoded_with_the_prompt() -> None:
    words = vocabulary("starcoder")
    prompt = Prompt("def f():\n", header=Header((("repository", "a/b"), ("file_name", SAID))))
    expected = [words.control("repository"), *words.encode("a/b"), words.control("file_name")]
    assert Prompts(words, 512, "m").ids(prompt).ids == [*expected, *words.encode(SAID + "def f():\n")]


def test_a_control_that_is_spelled_in_a_header_stays_text() -> None:
    words = vocabulary("starcoder")
    ids = Prompts(words, 512, "m").ids(Prompt("x", header=Header((("file_name", "<filename>"),)))).ids
    assert [id_ for id_ in ids if words.is_control(id_)] == [words.control("file_name")]


def test_a_family_without_the_control_says_so() -> None:
    with pytest.raises(TokenizerError, match="no control token 'file_name'"):
        Prompts(vocabulary("santacoder"), 512, "m").ids(Prompt("x", header=Header((("file_name", SAID),))))


def test_a_header_is_part_of_what_was_asked() -> None:
    asks = [
        Prompt("x"),
        Prompt("x", header=Header((("file_name", "a"),))),
        Prompt("x", header=Header((("stars", "a"),))),
    ]
    assert len({digest(ask) for ask in asks}) == 3
