from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from starloom.models import cross_entropy as module
from starloom.models.cross_entropy import IGNORED, cross_entropy, token_losses


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPU_CHUNK", 1)
    monkeypatch.setattr(
        module, "_LEAST", 512
    )  # 300 tokens are five chunks in float64, three in float32, two in bfloat16


def sample(dtype: torch.dtype, ignored: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    x_MD = torch.randn(300, 16, generator=generator, dtype=torch.float64)
    head_VD = torch.randn(50, 16, generator=generator, dtype=torch.float64)
    targets_M = torch.randint(50, (300,), generator=generator)
    if ignored:
        targets_M[torch.rand(300, generator=generator) < 0.3] = IGNORED
        targets_M[128:256] = IGNORED  # a whole chunk
    return x_MD.to(dtype).requires_grad_(), head_VD.to(dtype).requires_grad_(), targets_M


@pytest.mark.parametrize("ignored", [False, True])
def test_loss_and_gradients_equal_those_of_whole_logits(ignored: bool) -> None:
    x_MD, head_VD, targets_M = sample(torch.float64, ignored)
    whole = F.cross_entropy(x_MD @ head_VD.t(), targets_M)
    expected = torch.autograd.grad(3 * whole, (x_MD, head_VD))
    chunked = cross_entropy(x_MD, head_VD, targets_M)
    torch.testing.assert_close(chunked, whole, rtol=1e-13, atol=0)
    for ours, theirs in zip(torch.autograd.grad(3 * chunked, (x_MD, head_VD)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("frozen", [0, 1])
def test_gradients_are_the_same_where_the_other_side_is_frozen(frozen: int) -> None:
    *sides, targets_M = sample(torch.float64)
    free = sides[1 - frozen]
    (expected,) = torch.autograd.grad(cross_entropy(*sides, targets_M), free)
    sides[frozen].requires_grad_(False)
    (alone,) = torch.autograd.grad(cross_entropy(*sides, targets_M), free)
    assert torch.equal(alone, expected)


def test_half_precision_sums_in_float32() -> None:
    x_MD, head_VD, targets_M = sample(torch.bfloat16)
    whole = F.cross_entropy(x_MD.double() @ head_VD.double().t(), targets_M)
    loss = cross_entropy(x_MD, head_VD, targets_M)
    assert loss.dtype == torch.float32
    assert abs(loss.item() - whole.item()) < 0.01 * whole.item()  # the logits themselves have 8 bits
    gradients = torch.autograd.grad(loss, (x_MD, head_VD))
    for ours, theirs in zip(gradients, torch.autograd.grad(whole, (x_MD, head_VD)), strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_autocast_computes_in_its_type_and_returns_float32_gradients() -> None:
    x_MD, head_VD, targets_M = sample(torch.float32)
    exact = torch.autograd.grad(cross_entropy(x_MD, head_VD, targets_M), (x_MD, head_VD))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = torch.autograd.grad(cross_entropy(x_MD, head_VD, targets_M), (x_MD, head_VD))
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.float32
        assert 0 < (ours - theirs).norm() < 0.02 * theirs.norm()


def test_nothing_to_predict_is_a_loss_of_zero_without_gradients() -> None:
    x_MD, head_VD, targets_M = sample(torch.float64)
    loss = cross_entropy(x_MD, head_VD, torch.full_like(targets_M, IGNORED))
    gradients = torch.autograd.grad(loss, (x_MD, head_VD))
    assert loss.item() == 0
    assert not any(gradient.any() for gradient in gradients)


def test_losses_by_token_equal_those_of_whole_logits() -> None:
    x_MD, head_VD, targets_M = sample(torch.float64)
    whole = F.cross_entropy(x_MD @ head_VD.t(), targets_M, reduction="none")
    torch.testing.assert_close(token_losses(x_MD, head_VD, targets_M), whole, rtol=1e-12, atol=1e-13)


def test_large_logits_overflow_nothing() -> None:
    x_MD, head_VD, targets_M = sample(torch.float32)
    loss = cross_entropy(x_MD * 1e4, head_VD, targets_M)
    torch.testing.assert_close(loss, F.cross_entropy(1e4 * x_MD @ head_VD.t(), targets_M))


def test_logits_of_all_tokens_never_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x_MD, head_VD, targets_M = sample(torch.float32)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        cross_entropy(x_MD, head_VD, targets_M).backward()
    assert largest == 128 * 50
