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


def test_gradients_and_other_types_are_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "LARGE", 1)
    monkeypatch.setattr(linear_module, "_one_dnn", None if linear_module._one_dnn is None else pytest.fail)
    layer = Linear(4, 3)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        assert layer(torch.randn(1, 2, 4)).shape == (1, 2, 3)
        for dtype in (torch.float64, torch.bfloat16):
            assert layer.to(dtype)(torch.randn(2, 4, dtype=dtype)).dtype == dtype


def test_torch_without_the_operator_computes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "LARGE", 1)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert linear_module._find_one_dnn() is None
    monkeypatch.setattr(linear_module, "_one_dnn", None)
    with torch.inference_mode():
        assert linear(torch.ones(1, 2), torch.ones(3, 2)).tolist() == [[2.0, 2.0, 2.0]]
