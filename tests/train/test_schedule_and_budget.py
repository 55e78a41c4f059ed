"""Schedules against closed forms; what a budget's text means; how minutes become steps."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starloom import flags
from starloom.errors import ConfigError
from starloom.train.budget import (
    AT_MOST_S,
    FEWEST,
    WARM_UP,
    Budget,
    Minutes,
    Steps,
    Tokens,
    calibration_steps,
    steps_in,
)
from starloom.train.schedule import Schedule

SHAPES = st.sampled_from(["constant", "linear", "cosine", "trapezoid"])


@given(steps=st.integers(2, 5000), warmup=st.integers(0, 100), floor=st.floats(0, 1))
def test_cosine_is_half_a_wave_from_the_warm_up_to_the_floor(steps, warmup, floor):
    schedule = Schedule("cosine", warmup_steps=min(warmup, steps - 1), floor=floor)
    start = schedule.warmup_steps
    for step in {start, (start + steps) // 2, steps - 1}:
        wave = (1 + math.cos(math.pi * (step - start) / (steps - start))) / 2
        assert schedule.factor(step, steps) == pytest.approx(floor + (1 - floor) * wave)


@given(steps=st.integers(1, 5000), floor=st.floats(0, 1))
def test_linear_falls_by_the_same_amount_each_step(steps, floor):
    factors = [Schedule("linear", floor=floor).factor(step, steps) for step in range(min(steps, 50))]
    assert factors[0] == 1
    assert all(a - b == pytest.approx((1 - floor) / steps, abs=1e-12) for a, b in pairwise(factors))


def test_trapezoid_stands_and_then_falls_over_its_decay():
    factors = [Schedule("trapezoid", warmup=0.1, decay=0.5).factor(step, 100) for step in range(100)]
    assert factors[:10] == [pytest.approx((step + 1) / 10) for step in range(10)]
    assert factors[10:55] == [1.0] * 45
    assert factors[55:] == [pytest.approx((100 - step) / 45) for step in range(55, 100)]


@given(shape=SHAPES, warmup=st.floats(0, 1), decay=st.floats(0, 1), floor=st.floats(0, 1), steps=st.integers(1, 300))
def test_no_shape_leaves_the_range_from_floor_to_one_after_the_warm_up(shape, warmup, decay, floor, steps):
    schedule = Schedule(shape, warmup=warmup, decay=decay, floor=floor)
    for step in range(round(warmup * steps), steps):
        assert floor - 1e-12 <= schedule.factor(step, steps) <= 1


@given(shape=SHAPES, steps=st.integers(1, 300), warmup=st.integers(1, 400))
def test_warm_up_is_a_straight_line_that_ends_at_one(shape, steps, warmup):
    schedule, length = Schedule(shape, warmup_steps=warmup), min(steps, warmup)
    assert [schedule.factor(step, steps) for step in range(length)] == [(step + 1) / length for step in range(length)]


def megatron(step, steps, *, peak, least, warmup):
    """Megatron-LM's learning rate after so many steps: linear warm-up, then half a cosine wave to the least one."""
    if step <= warmup:
        return peak * step / warmup
    wave = 0.5 * (math.cos(math.pi * (step - warmup) / (steps - warmup)) + 1)
    return least + wave * (peak - least)


@pytest.mark.parametrize(
    ("run", "steps", "peak", "least", "schedule"),
    [
        # facts of the launch scripts: SantaCoder's 300,000 of 600,000 steps, 2 % of warm-up; StarCoderBase-1B; StarCoder
        (300_000, 600_000, 2e-4, 0.0, Schedule("cosine", warmup=0.02, length=600_000)),
        (1_000_000, 1_000_000, 4e-4, 4e-5, Schedule("cosine", warmup_steps=2000, floor=0.1)),
        (8_500, 8_500, 5e-5, 5e-6, Schedule("cosine", warmup_steps=500, floor=0.1)),
    ],
)
def test_published_schedules_can_be_said(run, steps, peak, least, schedule):
    warmup = max(schedule.warmup_steps, round(schedule.warmup * steps))
    for step in {0, warmup // 2, warmup, run // 2, run - 1}:
        # ours is one step ahead in the warm-up, where Megatron's first step moves nothing
        theirs = megatron(step + (step < warmup), steps, peak=peak, least=least, warmup=warmup)
        assert peak * schedule.factor(step, run) == pytest.approx(theirs, rel=1e-9)


def test_a_share_outside_zero_and_one_is_refused():
    with pytest.raises(ConfigError, match=r"schedule.decay .* not 1.5"):
        Schedule(decay=1.5)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("steps:60", Steps(60)),
        ("tokens:1M", Tokens(1_000_000)),
        ("tokens:2.5k", Tokens(2500)),
        ("tokens:300", Tokens(300)),
        ("tokens:1.05T", Tokens(1_050_000_000_000)),
        ("minutes:0.5", Minutes(0.5)),
        ("minutes:3", Minutes(3)),
    ],
)
def test_a_budget_is_read_from_the_command_line(text, meant):
    assert flags.convert(text, Budget, "pretrain.budget") == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "60",
        "steps:",
        "steps:1.5",
        "steps:0",
        "steps:-3",
        "tokens:1X",
        "tokens:M",
        "hours:3",
        "minutes:nan",
        "minutes:inf",
        "minutes:0",
    ],
)
def test_what_is_no_budget_is_refused_with_the_spellings_that_are(text):
    with pytest.raises(ConfigError, match="budget"):
        flags.convert(text, Budget, "pretrain.budget")


@given(tokens=st.integers(1, 10**12), step=st.integers(1, 10**7))
def test_tokens_are_rounded_up_to_whole_steps(tokens, step):
    steps = steps_in(Tokens(tokens), step)
    assert (steps - 1) * step < tokens <= steps * step


def test_minutes_divide_by_the_median_step_and_one_slow_step_changes_nothing():
    assert steps_in(Minutes(2), 1024, [0.5, 0.5, 0.5, 30.0, 0.5]) == 240


def test_calibration_leaves_out_the_first_steps_and_ends():
    times = iter([9.0] * WARM_UP + [0.5] * 1000)
    assert calibration_steps(lambda: next(times), 3600) == [0.5] * int(AT_MOST_S / 0.5)
    slow = iter([100.0] * 100)
    assert len(calibration_steps(lambda: next(slow), 60)) == FEWEST


def test_a_run_that_ends_before_its_course_is_the_beginning_of_the_whole_one():
    whole, short = Schedule("cosine", warmup=0.02), Schedule("cosine", warmup=0.02, length=600)
    assert [short.factor(step, 300) for step in range(300)] == [whole.factor(step, 600) for step in range(300)]
    assert short.factor(299, 300) > 0.4
