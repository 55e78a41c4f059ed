from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import grouped, tiny

from starloom.errors import CheckpointError
from starloom.models import int8
from starloom.models.causal_lm import CausalLM, int8_model, load_model, new_model, save_model
from starloom.models.config import ModelConfig
from starloom.models.int8 import Int8Matrix

CONFIGS = [*map(tiny, range(8)), *map(grouped, range(8))]
NAMES = [f"{'gpt_bigcode' if number < 8 else 'starcoder2'} {number % 8}" for number in range(16)]

exact = pytest.mark.skipif(not int8.exact_products(), reason="int8 products of this processor saturate")


def normal(*shape: int, seed: int = 0, std: float = 1.0) -> torch.Tensor:
    return std * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def widened(model: CausalLM, config: ModelConfig) -> CausalLM:
    """The oracle: a model of floats, in float64, whose matrices are those that the int8 ones stand for."""
    state = {name: value for name, value in model.state_dict().items() if not name.endswith(("codes_OD", "scales_O"))}
    for name, module in model.named_modules():
        if isinstance(module, Int8Matrix):
            state[name] = module.widened()
    peer = new_model(config, dtype=torch.float64)
    peer.load_state_dict({name: value.double() for name, value in state.items()})
    return peer.eval()


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**31), st.floats(1e-20, 1e20))
@settings(max_examples=60)
def test_codes_are_what_numpy_rounds_to_with_the_largest_of_a_row_at_127(
    rows: int, columns: int, seed: int, std: float
) -> None:
    weights = normal(rows, columns, seed=seed, std=std)
    weights[rows // 2] = 0
    codes, scales = int8.quantized(weights)
    wide = weights.numpy()
    expected = np.maximum(np.abs(wide).max(1), np.float32(1e-30)) / np.float32(127)
    assert np.array_equal(scales.numpy(), expected)
    assert np.array_equal(codes.numpy(), np.rint(wide / expected[:, None]))
    assert np.all(np.abs(codes.numpy()).max(1) == np.where(np.abs(wide).max(1) > 0, 127, 0))
    error = np.abs(codes.numpy() * expected[:, None].astype(np.float64) - wide)
    assert np.all(error <= 0.5001 * expected[:, None])


@given(st.integers(1, 300), st.integers(1, 90), st.integers(1, 200), st.integers(0, 2**31))
@settings(max_examples=40)
def test_a_product_is_that_of_the_matrix_it_stands_for(outputs: int, inputs: int, rows: int, seed: int) -> None:
    matrix, bias = Int8Matrix(normal(outputs, inputs, seed=seed)), normal(outputs, seed=seed + 1)
    x = normal(rows, inputs, seed=seed + 2) * torch.logspace(-6, 6, rows)[:, None]
    exact_RO = x.double() @ matrix.widened().double().T
    # each activation is off by a 32,639th of the largest in its row at most, half of that but for the last of the digits
    bound = 3.1e-5 * x.double().abs().amax(1, keepdim=True) * matrix.widened().double().abs().sum(1)
    for product in (matrix.product(x), int8._in_floats(x, matrix.codes_OD, matrix.scales_O)):
        assert bool(((product.double() - exact_RO).abs() <= bound).all())
    assert torch.equal(matrix.product(x, bias), matrix.product(x) + bias)
    assert torch.equal(matrix.rows(torch.arange(outputs)), matrix.widened())


def test_weights_widened_a_part_at_a_time_give_the_product_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, x = Int8Matrix(normal(50, 16)), normal(2, 3, 16)
    monkeypatch.setattr(int8, "exact_products", lambda: False)
    whole = matrix.product(x)
    monkeypatch.setattr(int8, "_WEIGHTS_AT_ONCE", 7 * 16)
    torch.testing.assert_close(matrix.product(x), whole)
    assert whole.shape == (2, 3, 50)
    assert matrix.product(x.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(Int8Matrix(normal(50, 16)).codes_OD, matrix.codes_OD)


@exact
@given(st.integers(1, 600), st.data())
@settings(max_examples=25)
def test_a_row_of_a_product_does_not_depend_on_the_rows_beside_it(rows: int, data: st.DataObject) -> None:
    matrix, x = Int8Matrix(normal(40, 24)), normal(rows, 24)
    start = data.draw(st.integers(0, rows - 1))
    end = data.draw(st.integers(start + 1, rows))
    assert torch.equal(matrix.product(x[start:end]), matrix.product(x)[start:end])


def test_activations_of_zeros_and_of_nan_stay_what_they_are() -> None:
    matrix = Int8Matrix(normal(5, 8))
    x = normal(3, 8)
    x[0], x[1, 3] = 0, torch.nan
    y = matrix.product(x)
    assert bool((y[0] == 0).all()) and bool(y[1].isnan().all()) and bool(y[2].isfinite().all())


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_logits_are_those_of_the_weights_that_the_int8_ones_stand_for(config: ModelConfig) -> None:
    model = int8_model(config, new_model(config, seed=5).state_dict(), where="a test")
    peer = widened(model, config)
    ids = torch.arange(2 * 20).view(2, 20) * 7 % config.vocab_size
    with torch.inference_mode():
        ours, theirs = model(ids), peer(ids)
    assert ours.dtype == torch.float32
    assert (ours - theirs).abs().max() < 1e-2 * theirs.std()
    assert (theirs.softmax(-1) * (theirs.log_softmax(-1) - ours.double().log_softmax(-1))).sum(-1).mean() < 1e-6
    losses = model.token_losses(ids[:, :-1], ids[:, 1:])
    torch.testing.assert_close(losses.double(), peer.token_losses(ids[:, :-1], ids[:, 1:]), atol=0.01, rtol=1e-3)


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_steps_with_a_cache_give_the_logits_of_the_whole(config: ModelConfig) -> None:
    model = int8_model(config, new_model(config, seed=5).state_dict(), where="a test")
    ids, cache = [number * 5 % config.vocab_size for number in range(20)], model.new_cache()
    [prompt] = model.step([(0, ids[:9])], cache, True)
    rest = [model.step([(0, [token])], cache)[0] for token in ids[9:]]
    with torch.inference_mode():
        whole = model(torch.tensor([ids]))[0]
    torch.testing.assert_close(torch.cat([prompt, *rest]), whole, atol=float(1e-3 * whole.std()), rtol=1e-4)


def test_a_folder_loads_in_int8_at_about_half_of_bfloat16(tmp_path: Path) -> None:
    config = tiny(0, n_embd=64, n_head=4, n_layer=2, n_inner=256, vocab_size=512, n_positions=64)
    model = new_model(config, seed=1)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path, dtype=torch.int8)
    straight = int8_model(config, model.state_dict(), where="memory")
    for name, value in straight.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    size = sum(tensor.nbytes for tensor in loaded.state_dict(keep_vars=True).values())
    assert size < 0.6 * 2 * config.parameter_count()
    with pytest.raises(CheckpointError, match="the tensors are not those of its config"):
        save_model(loaded, tmp_path / "again")


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    model = new_model(tiny(2), seed=1)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight[1, 1] = torch.inf  # type: ignore[union-attr,index]
    save_model(model, tmp_path)
    with pytest.raises(CheckpointError, match=r"h\.0\.mlp\.c_fc\.weight: some weights are not finite"):
        load_model(tmp_path, dtype=torch.int8)
