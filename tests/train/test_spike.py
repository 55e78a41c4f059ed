"""A loss that rises: going back and past its batches, or leaving them out; exactly so again after a stop."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import small_job as small
from hypothesis import given
from hypothesis import strategies as st

from starloom.errors import ConfigError, TrainingError
from starloom.report.training import Run, events
from starloom.train import Spike, spike
from starloom.train.log import TIMES, rows

SPIKE = Spike(window=8, steps=2, every=4, deviations=6.0, least=0.2)
BAD = range(26, 32)  # batches of noise after much that can be learned


def batch(number, rank=0, ranks=1):
    """One repeated id, soon known by heart; in the bad batches, ids by chance."""
    if number not in BAD:
        return np.full((small.BATCH, small.CONTEXT + 1), 7)
    return np.random.Generator(np.random.Philox(key=number)).integers(1, small.VOCABULARY, (small.BATCH, 17))


def run(folder, steps=40, draw=batch, **changes):
    nothing = {"": np.zeros(0, np.uint16)}
    settings = {"spike": SPIKE, "patience": 4, **changes}
    working = small.work(folder, save_every_s=settings.pop("save_every_s", 1e9))
    outcome = small.train(small.job(**settings), small.data(batch=draw, heldout=nothing), steps, working)
    return outcome, log_of(folder), working.runtime.progress.lines


def log_of(folder):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows(folder / "log.jsonl")]


def test_a_run_goes_back_before_the_rise_and_on_past_its_batches(tmp_path):
    outcome, log, said = run(tmp_path)
    assert [row["step"] for row in log] == list(range(1, 41))  # without gaps or repeats
    back = [row["went_back"] for row in log if "went_back" in row]
    assert back[0]["loss"] > 0.5
    assert [event.told.startswith("went back from step 26 to 24") for event in events(Run("run", tuple(log), {}))] == [
        True
    ]
    # two steps in a row make a rise: batches 26 and 27, then 28 and 29, then 30 and 31
    assert [(one["from"], one["to"]) for one in back] == [(26, 24)] and outcome.state.rollbacks == 3
    assert [row.get("batch", row["step"] - 1) for row in log] == [*range(24), *range(32, 48)]
    assert max(row["loss"] for row in log[24:]) < 0.5  # nothing of the noise was learned
    assert any(line.startswith("the loss rose") and "back to step 24" in line for line in said)


def test_what_was_gone_past_left_no_trace(tmp_path):
    """The run equals one whose data never held those batches."""
    bad, _, _ = run(tmp_path / "bad")
    good, _, _ = run(tmp_path / "good", draw=lambda number, rank, ranks: batch(number if number < 24 else number + 8))
    assert small.same(bad.model, good.model)


@pytest.mark.parametrize(("stop", "save_every_s"), [(25, 1e9), (28, 0.0), (33, 1e9)])
def test_a_run_that_is_stopped_around_a_rise_ends_as_one_that_never_was(tmp_path, stop, save_every_s):
    def stopping(number, rank, ranks):
        if number == stop:
            signal.raise_signal(signal.SIGTERM)
        return batch(number)

    straight, log, _ = run(tmp_path / "straight")
    with pytest.raises(SystemExit):
        run(tmp_path / "stopped", draw=stopping, save_every_s=save_every_s)
    again, log_again, _ = run(tmp_path / "stopped", save_every_s=save_every_s)
    assert small.same(straight.model, again.model) and log == log_again


def test_skipping_leaves_out_the_steps_of_a_rise_alone(tmp_path):
    outcome, log, said = run(tmp_path, spike=replace(SPIKE, action="skip"), patience=9)
    assert outcome.state.skipped == len(BAD)
    assert [row["step"] - 1 for row in log if row["loss"] > 1 and row["step"] > 20] == list(BAD)
    assert sum("is skipped" in line for line in said) == len(BAD)


def test_a_loss_that_stays_high_ends_the_run_and_says_what_to_do(tmp_path):
    noise = lambda number, rank, ranks: batch(26) if number > 20 else batch(number)  # noqa: E731
    with pytest.raises(
        TrainingError, match=r"the loss rose .* up to step \d+ after 2 rollbacks.*pretrain.optimizer.lr"
    ):
        run(tmp_path, draw=noise, spike=replace(SPIKE, most=2))


def test_without_a_rise_nothing_differs_from_a_run_that_does_not_look(tmp_path):
    looking, log, _ = run(tmp_path / "a", steps=20)
    plain, other, _ = run(tmp_path / "b", steps=20, spike=None)
    assert small.same(looking.model, plain.model) and log == other


@given(st.lists(st.floats(0.5, 2.0), min_size=8, max_size=60), st.integers(1, 4))
def test_losses_within_what_they_were_are_no_rise(losses, steps):
    settings = replace(SPIKE, steps=steps, least=2.0)
    for action in ("rollback", "skip"):
        guard = spike.Guard(replace(settings, action=action), 3)
        for loss in losses:
            assert not guard.leaves_out(loss)
            guard.add(loss)
            assert not guard.has_risen()


@given(step=st.integers(0, 1000), every=st.integers(1, 50), data=st.data())
def test_what_is_gone_back_to_was_held(step, every, data):
    last = data.draw(st.integers(1, every))
    kept = spike.held(step, every)
    if step >= last:
        assert spike.good(step, last, every) in kept and spike.good(step, last, every) <= step - last


@pytest.mark.parametrize("settings", [{"every": 2, "steps": 3}, {"window": 0}, {"deviations": -1.0}])
def test_settings_that_could_not_find_a_rise_are_refused(settings):
    with pytest.raises(ConfigError, match="spike"):
        Spike(**settings)
