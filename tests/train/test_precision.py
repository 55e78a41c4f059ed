"""fp16 with its loss scale: what it computes, what an overflow does, and that a stopped run goes on exactly."""

from __future__ import annotations

import math
import signal
from itertools import pairwise

import pytest
import small_job as small
import torch
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import ConfigError
from starloom.models.cross_entropy import cross_entropy
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.train import LossScale, step
from starloom.train.log import TIMES, rows
from starloom.train.ranks import alone


def log_of(folder):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows(folder / "log.jsonl")]


def test_a_scaled_loss_gives_the_same_gradients():
    plain, scaled = (GPTBigCode(small.CONFIG, seed=0) for _ in range(2))
    assert step.gradients(plain, small.batch(0), small.job(), alone()) == step.gradients(
        scaled, small.batch(0), small.job(), alone(), 2.0**16
    )
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), scaled.parameters(), strict=True))


def test_fp16_finds_the_gradients_of_fp32_where_they_would_be_rounded_to_zero():
    """A token's share of a batch of a million, in the head: 1e-6 times its activation, below what fp16 holds well."""
    generator = torch.Generator().manual_seed(0)
    x_MD = torch.randn(64, 8, generator=generator).repeat(500, 1) * 1e-2
    targets_M = torch.randint(32, (64,), generator=generator).repeat(500)
    found = []
    for half in (False, True):
        head_VD = (torch.randn(32, 8, generator=torch.Generator().manual_seed(1)) / 3).requires_grad_()
        with torch.autocast("cpu", torch.float16, enabled=half):
            loss = cross_entropy(x_MD, head_VD, targets_M)
        (loss * 2.0**16).backward()
        found.append(head_VD.grad / 2.0**16)
    assert torch.allclose(*found, rtol=0.05, atol=0.01 * found[0].abs().max())


def test_fp16_trains_as_fp32_does(tmp_path):
    losses = [
        log_of(small.trained(tmp_path / precision, 12, precision=precision))[-1]["loss"]
        for precision in ("fp32", "fp16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_an_overflow_is_skipped_halves_the_scale_and_does_not_end_the_run(tmp_path):
    scale = LossScale(initial=2.0**40)
    found = log_of(small.trained(tmp_path, 30, precision="fp16", loss_scale=scale, patience=1))
    scales = [row["loss_scale"] for row in found]
    skipped = found[-1]["skipped"]
    assert 3 < skipped < 30 and scales[: skipped + 1] == [2.0 ** (40 - n) for n in range(skipped + 1)]
    assert all(row["loss"] is None for row in found[:skipped]) and found[-1]["loss"] < found[skipped]["loss"]


def test_the_scale_and_its_age_go_on_where_a_run_was_stopped(tmp_path):
    settings = {"precision": "fp16", "loss_scale": LossScale(initial=2.0**30, window=3)}

    def interrupting(number, rank, ranks):
        if number == 14:
            signal.raise_signal(signal.SIGTERM)
        return small.batch(number)

    straight = log_of(small.trained(tmp_path / "straight", 30, **settings))
    with pytest.raises(SystemExit):
        small.trained(tmp_path / "stopped", 30, data=small.data(batch=interrupting), **settings)
    assert log_of(small.trained(tmp_path / "stopped", 30, **settings)) == straight
    scales = [row["loss_scale"] for row in straight]
    assert any(b > a for a, b in pairwise(scales))


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 20))
def test_the_scale_stays_within_its_bounds_and_grows_only_after_a_window_without_overflow(finite, window):
    settings = LossScale(window=window)
    scale, age, calm = settings.initial, 0, 0
    for one in finite:
        before = scale
        scale, age = settings.after(scale, age, one)
        calm = calm + 1 if one else 0
        assert math.log2(scale).is_integer() and scale >= settings.least
        assert (scale > before) == (one and calm % window == 0)


@pytest.mark.parametrize("settings", [{"initial": 0.5}, {"backoff": 1.0}, {"growth": 0.5}, {"window": 0}])
def test_a_scale_that_could_not_move_as_it_must_is_refused(settings):
    with pytest.raises(ConfigError, match="loss_scale"):
        LossScale(**settings)
