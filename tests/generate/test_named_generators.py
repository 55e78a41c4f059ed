from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import vocabulary
from test_suffix_copy import TOTAL

import starloom
from starloom.errors import CheckpointError, ConfigError, GenerationError, MissingExtraError
from starloom.generate.generators.completions_file import CompletionsFile
from starloom.generate.generators.endpoint import Endpoint
from starloom.generate.protocol import Completion, Prompt, Settings
from starloom.models import checkpoint
from starloom.models.config import GPTBigCodeConfig


def test_a_server_is_named_by_its_address_its_model_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openai:http://localhost:8000#m", "http://localhost:8000/v1/#m"):
        endpoint = starloom.generator(name)
        assert isinstance(endpoint, Endpoint)
        assert (endpoint.server.url, endpoint.model, endpoint.infills_by) == ("http://localhost:8000/v1", "m", "no")
    monkeypatch.setenv("NAME_OF_IT", "abc")
    endpoint = starloom.generator("https://host/api#org/m,infill=starcoder2,key=NAME_OF_IT,at_once=3")
    assert isinstance(endpoint, Endpoint)
    assert (endpoint.server.url, endpoint.model, endpoint.server.key) == ("https://host/api/v1", "org/m", "abc")
    assert (endpoint.infills_by, endpoint.at_once) == ("starcoder2", 3)


def test_a_file_and_outside_code_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.jsonl").write_text("")
    assert isinstance(starloom.generator(f"file:{tmp_path / 'c.jsonl'}"), CompletionsFile)
    made = types.ModuleType("mine.generators")
    made.fixed = lambda **options: options  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", types.ModuleType("mine"))
    monkeypatch.setitem(sys.modules, "mine.generators", made)
    assert starloom.generator("mine.generators:fixed", a=1) == {"a": 1}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("opanai:x", ConfigError, "no kind of generator is called 'opanai'; did you mean 'openai'?"),
        ("openai:http://localhost:8000", ConfigError, "names no model; write openai:http://HOST:PORT#MODEL"),
        ("http://localhost#m,infil=suffix", ConfigError, "'infil=suffix' is no setting of an endpoint"),
        ("http://localhost#m,infill=starcoder3", ConfigError, "no way to infill is called 'starcoder3'; did you mean"),
        ("http://localhost#m,at_once=many", ConfigError, "at_once takes a whole number, not 'many'"),
        ("nowhere/at/all", CheckpointError, "no model folder at nowhere/at/all"),
    ],
)
def test_a_name_that_is_none_says_what_would_be(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("?", r"\?")):
        starloom.generator(name)


class FakeLLM:
    """What our code calls of vLLM, with its names: a stand-in for a package that cannot run without a GPU."""

    script: Sequence[int] = ()
    end = 0

    def __init__(self, model: str, **options: Any) -> None:
        self.options = options
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=64))

    def generate(self, prompts: list[dict[str, Any]], parameters: Any) -> list[Any]:
        each = parameters if isinstance(parameters, list) else [parameters] * len(prompts)
        return [self._answer(prompt["prompt_token_ids"], one) for prompt, one in zip(prompts, each, strict=True)]

    def _answer(self, ids: list[int], parameters: Any) -> Any:
        said = list(self.script)[: parameters.max_tokens]
        ended = len(said) < parameters.max_tokens and self.end in parameters.stop_token_ids
        rows = [
            {token: SimpleNamespace(logprob=-1.0 - token, rank=1 + token % 2)} for token in said + [self.end] * ended
        ]
        return SimpleNamespace(
            prompt_token_ids=ids,
            prompt_logprobs=[None, *({token: SimpleNamespace(logprob=-float(token), rank=1)} for token in ids[1:])],
            outputs=[
                SimpleNamespace(
                    token_ids=said + [self.end] * ended,
                    stop_reason=self.end if ended else None,
                    finish_reason="stop" if ended else "length",
                    logprobs=rows,
                )
            ],
        )


class FakeParameters:
    stop_token_ids: Sequence[int] = ()

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import numpy as np

    words = vocabulary()
    config = GPTBigCodeConfig(vocab_size=words.rows, n_positions=64, n_embd=8, n_layer=1, n_head=2, eos_token_id=0)
    checkpoint.save(tmp_path, config, {name: np.zeros(shape, np.float32) for name, shape in config.shapes().items()})
    words.save(tmp_path)
    return tmp_path


def test_vllm_says_which_command_installs_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'starloom\[vllm\]'"):
        starloom.generator(f"vllm:{folder}")


def test_the_calls_to_vllm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in: that the calls fit the package itself is untested."""
    fake = types.ModuleType("vllm")
    fake.LLM, fake.SamplingParams = FakeLLM, FakeParameters  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", fake)
    words = vocabulary()
    monkeypatch.setattr(FakeLLM, "script", words.encode("total = 1\n    " + TOTAL)[:30])
    generator = starloom.generator(f"vllm:{folder}")
    assert generator.capabilities == {"complete", "infill", "loglikelihood"}
    good = Prompt("<fim_prefix>", Settings(max_tokens=60, stop=(" = ",), logprobs=True))
    results = list(generator.run([good, Prompt("0" * 80), Prompt("x", Settings(max_tokens=2))]))
    assert isinstance(results[0], Completion)
    assert (results[0].text, results[0].stopped_by, results[0].prompt_tokens) == (
        "total", " = ", len(words.encode("<fim_prefix>")),
    )  # fmt: skip
    assert results[0].logprobs == tuple(-1.0 - token for token in results[0].tokens)
    assert isinstance(results[1], GenerationError)
    assert isinstance(results[2], Completion)
    assert (results[2].finish_reason, results[2].stopped_by) == ("length", None)
    assert generator.infill("def f():\n    ", "\n    " + TOTAL, max_tokens=60).text == "total = 1"
    [likely] = generator.loglikelihood([("def f", "():")])
    assert not isinstance(likely, GenerationError)
    assert likely.logprobs == tuple(-float(token) for token in words.encode("def f():")[len(words.encode("def f")) :])
