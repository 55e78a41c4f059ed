from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from starloom.models import linear as linear_module
from starloom.models.linear import Linear, linear


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99), rows=st.integers(1, 70), width=st.sampled_from([1, 7, 64, 129]),
    out=st.sampled_from([1, 5, 64, 200]), bias=st.booleans(), first=st.integers(0, 3),
)  # fmt: skip
def test_rows_give_torchs_product(seed: int, rows: int, width: int, out: int, bias: bool, first: int) -> None:
    """Also of rows and weights that do not begin where their memory does, as those of a mapped file."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(first + rows, width, generator=generator)[first:]
    weight = torch.randn(first + out * width, generator=generator)[first:].view(out, width)
    b = torch.randn(out, generator=generator) if bias else None
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(linear_module, "LARGE", 1)
        exact = F.linear(x.double(), weight.double(), None if b is None else b.double())
        assert (linear(x, weight, b).double() - exact).abs().max() < 1e-5 * width


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99), lines=st.sampled_from([(1,), (70,), (3, 5), (2, 3, 4)]), width=st.sampled_from([1, 7, 64]),
    out=st.sampled_from([1, 5, 96]), bias=st.booleans(), frozen=st.sampled_from(["", "x", "weight"]),
)  # fmt: skip
def test_training_gives_torchs_gradients(
    seed: int, lines: tuple[int, ...], width: int, out: int, bias: bool, frozen: str
) -> None:
    """Those of float64, to the rounding of float32; also where the gradient that comes in is no contiguous block."""
    generator = torch.Generator().manual_seed(seed)
    layer = Linear(width, out, bias=bias)
    layer.weight.requires_grad_(frozen != "weight")
    x = torch.randn(*lines, width, generator=generator).requires_grad_(frozen != "x")
    dy = torch.randn(out, *lines, generator=generator).movedim(0, -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_module, "MUCH", 1)
        y = layer(x)
    inputs = [one for one in (x, *layer.parameters()) if one.requires_grad]
    if linear_module._one_dnn is not None:
        assert type(y.grad_fn).__name__ == "_LinearBackward"
    found = torch.autograd.grad(y, inputs, dy)
    exact_layer, exact_x = layer.double(), x.detach().double().requires_grad_(frozen != "x")
    exact = exact_layer(exact_x)
    exact_inputs = [one for one in (exact_x, *exact_layer.parameters()) if one.requires_grad]
    expected = torch.autograd.grad(exact, exact_inputs, dy.double())
    for ours, theirs in zip((y, *found), (exact, *expected), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_small_products_other_types_autocast_and_compiled_models_are_torchs_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear_module, "LARGE", 1)
    monkeypatch.setattr(linear_module, "_one_dnn", None if linear_module._one_dnn is None else pytest.fail)
    layer = Linear(4, 3)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        assert layer(torch.randn(1, 2, 4)).shape == (1, 2, 3)
    monkeypatch.setattr(linear_module, "MUCH", 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 4)).dtype == torch.bfloat16
    with monkeypatch.context() as compiling:
        compiling.setattr(torch.compiler, "is_compiling", lambda: True)
        assert layer(torch.randn(2, 4)).dtype == torch.float32
    for dtype in (torch.float64, torch.bfloat16):
        assert layer.to(dtype)(torch.randn(2, 4, dtype=dtype)).dtype == dtype
        with torch.inference_mode():
            assert layer(torch.randn(2, 4, dtype=dtype)).dtype == dtype


def test_torch_without_the_operator_computes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "LARGE", 1)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert linear_module._find_one_dnn() is None
    monkeypatch.setattr(linear_module, "_one_dnn", None)
    with torch.inference_mode():
        assert linear(torch.ones(1, 2), torch.ones(3, 2)).tolist() == [[2.0, 2.0, 2.0]]
