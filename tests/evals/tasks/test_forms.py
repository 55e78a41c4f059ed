"""Templates, fences and stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import ConfigError, SourceError
from starloom.evals.tasks.fences import blocks, code_of
from starloom.evals.tasks.python_tasks import TASKS
from starloom.evals.tasks.stops import ENDS, FunctionEnd, cut
from starloom.evals.tasks.task import Form
from starloom.evals.tasks.templates import PUBLISHED, own_template, template_named
from starloom.generate.protocol import Prompt

BY_NAME = {task.name: task for task in TASKS}
# StarCoder2-Instruct's own chat template, in our words: what it does is published (facts of the model's card)
INSTRUCT = (
    "{{ bos_token }}{{ 'You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable "
    "responses to user instructions.\n\n' }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System messages are not allowed in this template.') }}{% elif message['role'] == 'user' %}"
    "{{ '### Instruction\n' + message['content'] + '\n\n' }}{% else %}{{ '### Response\n' + message['content'] + eos_token + "
    "'\n\n' }}{% endif %}{% endfor %}{{ '### Response\n' }}"
)


def test_starcoder2_instruct_is_asked_as_it_was_evaluated() -> None:
    problem = BY_NAME["humaneval"].problems()[0]
    ask = BY_NAME["humaneval"].ask(
        problem, Form("instruct", template=PUBLISHED["starcoder2-instruct"], family="starcoder2")
    )
    assert isinstance(ask, Prompt) and ask.settings.new_document and ask.settings.stop == ("\n```",)
    begun = f"```python\n{problem.prompt.strip()}"
    assert ask.text.endswith(
        f"### Instruction\nWrite a Python function to solve the given task:\n{begun}\n```\n\n### Response\n"
    )
    assert ask.settings.response_prefix == begun


def test_mbpp_plus_shows_starcoder2_instruct_its_assertion() -> None:
    task = BY_NAME["mbpp+"]
    ask = task.ask(task.problems()[0], Form("instruct", template=PUBLISHED["starcoder2-instruct"]))
    assert isinstance(ask, Prompt) and ask.settings.response_prefix == "```python" and not ask.settings.new_document
    assert (
        "Write a function to find the shared elements from the given two lists.\n\n"
        "Your code should pass the following assertion:\n```python\nassert set(similar_elements((3, 4, 5, 6),(5, 7, 4, 10)))"
    ) in ask.text


def test_a_models_own_template_is_rendered_and_its_first_control_is_one(tmp_path: Path) -> None:
    config = {"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>"}, "chat_template": INSTRUCT}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    own = template_named("own", tmp_path)
    assert own.new_document and own.render("Do it.") == PUBLISHED["starcoder2-instruct"].render("Do it.")


@pytest.mark.parametrize(
    ("template", "error", "told"),
    [
        ("{% for %}", SourceError, "malformed"),
        ("{{ raise_exception('never') }}", ConfigError, "never"),
        ("{{ messages.__class__.__mro__ }}", ConfigError, "unsafe|not safely|refuses"),
        (None, SourceError, "no chat template"),
    ],
)
def test_a_template_that_cannot_be_used_is_named(tmp_path: Path, template: str | None, error: type, told: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    with pytest.raises(error, match=told):
        own_template(tmp_path).render("x")


def test_an_unknown_template_is_told_its_nearest_name() -> None:
    with pytest.raises(ConfigError, match="alpaca"):
        template_named("alpacca")
    with pytest.raises(ConfigError, match="has a template"):
        Form("instruct")


def test_alpacas_form_ends_where_it_was_trained_to() -> None:
    assert PUBLISHED["alpaca"].render("Add {x}.").endswith("### Instruction:\nAdd {x}.\n\n### Response:")


code = st.text(alphabet="ab =\n", min_size=1).filter(str.strip)


@given(code, code)
def test_the_first_fence_of_the_language_is_the_code(one: str, other: str) -> None:
    text = f"Sure!\n```text\n{other}\n```\nNow:\n```python\n{one}\n```\nDone.\n```python\n{other}\n```\n"
    assert code_of(text, "Python") == one + "\n" and code_of(text, "Python", which=-1) == other + "\n"
    assert [block.tag for block in blocks(text)] == ["text", "python", "python"]


def test_an_answer_of_nothing_but_fences_is_read_in_one_pass() -> None:
    assert len(blocks("```\n" * 300_000)) == 150_000


def test_a_fence_that_is_not_closed_goes_on_to_the_end_and_text_without_one_is_code() -> None:
    assert code_of("```js\nlet a = 1", "JavaScript") == "let a = 1"
    assert code_of("return 1", "Python") == "return 1"
    assert code_of("```\nx\n```", "Java") == "x\n"


@given(st.text(alphabet="ab\n#", max_size=40), st.lists(st.sampled_from(["\n#", "ab", "b\n"]), max_size=3))
def test_a_text_is_cut_before_its_first_stop(text: str, stops: list[str]) -> None:
    kept = cut(text, stops)
    assert text.startswith(kept) and not any(stop in kept for stop in stops)
    assert kept == text or any(text[len(kept) :].startswith(stop) for stop in stops)


def test_a_function_ends_where_its_language_says() -> None:
    assert ENDS["Java"].cut(" if (a) { b(); }\n }\n}\nclass X {}") == " if (a) { b(); }\n }\n}"
    assert ENDS["Ruby"].cut("\n  [1].each do\n  end\nend\nputs 1\n") == "\n  [1].each do\n  end\nend\n"
    assert ENDS["Python"].cut("\n    a\n\n    b\nx = 1\n") == "\n    a\n\n    b\n"
    assert FunctionEnd(brackets=1).cut(" never closed {") == " never closed {"
