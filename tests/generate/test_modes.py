"""Number formats of the torch backend: what each gives, on both families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scripted import vocabulary
from test_torch_backend import MODELS

import starloom
from starloom.errors import ConfigError
from starloom.generate import commands
from starloom.generate.backends.torch import DTYPES, TorchBackend, open_backend
from starloom.models import int8
from starloom.models.attention import attention
from starloom.models.causal_lm import CausalLM, save_model

IDS = [(number * 37 + number**2) % vocabulary().rows for number in range(60)]
# mean KL from float64 in nats, some ten times what these random models show; their logits spread over several units
MOST_KL = {"float64": 1e-12, "float32": 1e-9, "float16": 1e-4, "bfloat16": 1e-2, "int8": 2e-2}


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model in float32: multi-query, multi-head with a head of its own, grouped with a window."""
    folder = tmp_path_factory.mktemp("model")
    model: CausalLM = MODELS[request.param]
    save_model(type(model)(model.config).eval(), folder)  # type: ignore[arg-type]
    vocabulary().save(folder)
    return folder


def log_probabilities(backend: TorchBackend) -> np.ndarray:
    [logits] = backend.forward([(0, IDS)], every={0})
    assert logits.dtype == np.float32 and logits.shape == (len(IDS), vocabulary().rows)
    return torch.from_numpy(logits).double().log_softmax(-1).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_mode_is_near_float64_and_gives_float32_logits(folder: Path, dtype: str) -> None:
    reference = log_probabilities(open_backend(folder, dtype="float64"))
    ours = log_probabilities(open_backend(folder, dtype=dtype))
    divergence = (np.exp(reference) * (reference - ours)).sum(1).mean()
    assert -1e-12 < divergence < MOST_KL[dtype]
    assert (ours.argmax(1) == reference.argmax(1)).mean() > (0.8 if dtype in ("bfloat16", "int8") else 0.95)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_mode_completes_from_a_folder_and_from_the_command_line(
    folder: Path, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    completion = starloom.load(str(folder), dtype=dtype).complete("def", max_tokens=8)
    assert len(completion.tokens) == 8 or completion.finish_reason == "stop"
    assert commands.complete([str(folder), "--prompt", "def", "--max-tokens", "8", "--dtype", dtype]) == 0
    assert capsys.readouterr().out == completion.text


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_attention_in_few_bits_sums_in_more(dtype: str) -> None:
    """Over 3,000 keys nearly alike a sum in bfloat16 would stop growing at 256 of them."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (0.1 * torch.randn(1, 3000, heads, 16, generator=generator) for heads in (4, 2, 2))
    few = [x.to(DTYPES[dtype]) for x in (q, k, v + 1)]
    with torch.inference_mode():
        ours = attention(*few, scale=0.25)
        wide = attention(*(x.float() for x in few), scale=0.25)
    assert ours.dtype == DTYPES[dtype]
    torch.testing.assert_close(ours.float(), wide, rtol=2**-7, atol=0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_norms_in_few_bits_are_computed_in_more(dtype: str) -> None:
    x = torch.linspace(100, 101, 4096).to(DTYPES[dtype])  # a variance taken in eight bits would be all rounding
    weight, bias = torch.ones(4096, dtype=x.dtype), torch.zeros(4096, dtype=x.dtype)
    ours = torch.nn.functional.layer_norm(x, (4096,), weight, bias)
    wide = torch.nn.functional.layer_norm(x.float(), (4096,))
    torch.testing.assert_close(ours.float(), wide, rtol=2**-7, atol=2**-9)


@pytest.mark.skipif(not int8.exact_products(), reason="int8 products of this processor saturate")
def test_a_decoding_step_in_int8_is_bit_for_bit_what_it_is_alone(folder: Path) -> None:
    backend = open_backend(folder, dtype="int8")
    slots = range(8)
    backend.forward([(slot, IDS[slot : 9 + 5 * slot]) for slot in slots])
    for slot in slots:
        backend.share(slot, 100 + slot, 9 + 4 * slot)
    for token in IDS[:5]:
        beside = backend.forward([(slot, (token,)) for slot in slots])
        for slot in slots:
            [alone] = backend.forward([(100 + slot, (token,))])
            assert np.array_equal(alone, beside[slot])


def test_a_mode_that_is_not_there_is_named_with_those_that_are(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no dtype 'int4'; did you mean 'int8'"):
        starloom.load(str(folder), dtype="int4")


def test_int8_is_not_compiled_on_a_cpu(folder: Path) -> None:
    with pytest.raises(ConfigError, match="compile is set and dtype is 'int8'"):
        starloom.load(str(folder), dtype="int8", compile=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_a_compiled_model_gives_the_logits_of_the_plain_one(folder: Path) -> None:
    try:
        compiled: Any = open_backend(folder, compile=True)
        ours = log_probabilities(compiled)
    except torch._dynamo.exc.BackendCompilerFailed as error:  # no C++ compiler
        pytest.skip(str(error).partition("\n")[0])
    np.testing.assert_allclose(ours, log_probabilities(open_backend(folder)), atol=1e-4)
    [one] = compiled.forward([(1, IDS[:1])])  # of another number of rows
    np.testing.assert_allclose(one, open_backend(folder).forward([(1, IDS[:1])])[0], atol=1e-4)
