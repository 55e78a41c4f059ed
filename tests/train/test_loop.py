"""What a step computes, what the log holds, and what happens when something goes wrong."""

from __future__ import annotations

import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import small_job as small
import torch

from starloom.errors import TrainingError
from starloom.models.gpt_bigcode import GPTBigCode
from starloom.train import heldout, looks, loop, step
from starloom.train.log import TIMES, rows
from starloom.train.ranks import alone
from starloom.train.settings import AdamW, Heldout


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_learns(tmp_path):
    outcome = small.train(small.job(), small.data(), 60, small.work(tmp_path))
    losses = [row["loss"] for row in rows(tmp_path / "log.jsonl")]
    assert losses[0] > 3.9 and losses[-1] < 2.9
    assert outcome.score.bits_per_byte < 1.1


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(parts):
    whole, pieces = (GPTBigCode(small.CONFIG, seed=0, dtype=torch.float64) for _ in range(2))
    loss, norm = step.gradients(whole, small.batch(0), small.job(), alone())
    loss_of_parts, norm_of_parts = step.gradients(pieces, small.batch(0), small.job(accumulate=parts), alone())
    assert loss_of_parts == pytest.approx(loss) and norm_of_parts == pytest.approx(norm)
    for one, other in zip(whole.parameters(), pieces.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-7)


def test_gradients_are_clipped_to_their_norm_and_the_norm_before_is_reported():
    model = GPTBigCode(small.CONFIG, seed=0)
    _, norm = step.gradients(model, small.batch(0), small.job(clip=0.01), alone())
    clipped = torch.cat([tensor.grad.flatten() for tensor in model.parameters()]).norm()
    assert norm > 0.1 and clipped == pytest.approx(0.01, rel=1e-3)


def test_the_log_has_one_line_a_step_with_what_a_reader_needs(tmp_path):
    small.train(small.job(schedule=replace(small.JOB.schedule, shape="linear")), small.data(), 9, small.work(tmp_path))
    found = list(rows(tmp_path / "log.jsonl"))
    assert [row["step"] for row in found] == list(range(1, 10))
    assert [row["tokens"] for row in found] == [64 * step for step in range(1, 10)]
    assert [row["step"] for row in found if "heldout_bits_per_byte" in row] == [3, 6]
    ids = small.batch(4)[:, 1:]
    in_bytes = (ids % 7 + 1).sum()
    assert found[4]["bits_per_byte"] == pytest.approx(found[4]["loss"] * ids.size / math.log(2) / in_bytes)
    assert found[4]["learning_rate"] == pytest.approx(small.JOB.optimizer.lr * (1 - 2 / 7))
    assert all(row["tokens_per_s"] > 0 and row["seconds"] >= 0 and row["gradient_norm"] > 0 for row in found)


def poisoned(steps):
    """Weights turn a batch into NaN when one of its ids is `VOCABULARY - 1`, whose embedding the test sets."""

    def batch(step, rank, ranks):
        ids = small.batch(step) % (small.VOCABULARY - 1)
        if step in steps:
            ids[0, 0] = small.VOCABULARY - 1
        return ids

    return batch


@pytest.fixture
def poison(monkeypatch):
    """One id whose embedding makes every loss that sees it infinite, but leaves the softmax alone."""

    def fresh(job, ranks):
        model, optimizer = plain(job, ranks)
        model.transformer.wte.register_forward_hook(
            lambda module, inputs, output: output.masked_fill((inputs[0] == small.VOCABULARY - 1)[..., None], math.nan)
        )
        return model, optimizer

    plain = loop.fresh
    monkeypatch.setattr(loop, "fresh", fresh)


def test_a_step_with_nan_is_skipped_counted_and_changes_no_weight(tmp_path, poison):
    data = small.data(batch=poisoned({3, 5}), heldout={"": np.zeros(0, np.uint16)})
    outcome = small.train(small.job(), data, 8, small.work(tmp_path / "a"))
    found = list(rows(tmp_path / "a/log.jsonl"))
    assert [row["skipped"] for row in found] == [0, 0, 0, 1, 1, 2, 2, 2] and outcome.state.skipped == 2
    assert found[3]["loss"] is None and found[3]["gradient_norm"] is None and found[4]["loss"] > 0
    before = small.train(small.job(), data, 8, small.work(tmp_path / "b")).model
    assert same(weights(outcome.model), weights(before))
    assert all(torch.isfinite(tensor).all() for tensor in weights(outcome.model).values())


def test_too_many_such_steps_in_a_row_end_the_run_with_its_checkpoint_kept(tmp_path, poison):
    data = small.data(batch=poisoned({4, 5, 6}), heldout={"": np.zeros(0, np.uint16)})
    working = small.work(tmp_path, save_every_s=0)
    with pytest.raises(TrainingError, match=r"3 steps in a row without a gradient to use .*, up to step 7.*--step 5`"):
        small.train(small.job(), data, 20, working)
    assert working.units() == ["resume-00000005", "resume-00000006"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    working = small.work(tmp_path, save_every_s=0)
    with pytest.raises(TrainingError, match=r"is not finite after step \d+; nothing is saved"):
        small.train(small.job(optimizer=AdamW(lr=3e38), clip=None, patience=100), small.data(), 20, working)
    assert working.units() == []


def test_dropout_is_a_function_of_the_step(tmp_path):
    dropping = small.job(config=replace(small.CONFIG, resid_pdrop=0.5))
    first = small.train(dropping, small.data(), 3, small.work(tmp_path / "a")).model
    torch.manual_seed(123)
    again = small.train(dropping, small.data(), 3, small.work(tmp_path / "b")).model
    without = small.train(small.job(), small.data(), 3, small.work(tmp_path / "c")).model
    assert same(weights(first), weights(again)) and not same(weights(first), weights(without))


def test_training_leaves_torch_as_it_was(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    small.train(small.job(), small.data(), 2, small.work(tmp_path))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_and_exits_and_the_next_run_goes_on(tmp_path, number, code):
    def interrupting(step, rank, ranks):
        if step == 5:
            signal.raise_signal(number)
        return small.batch(step)

    straight = small.train(small.job(), small.data(), 9, small.work(tmp_path / "straight")).model
    working = small.work(tmp_path / "stopped")
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit) as stopped:
        small.train(small.job(), small.data(batch=interrupting), 9, working)
    assert stopped.value.code == code
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert any("saved; the same command goes on" in line for line in working.runtime.progress.lines)
    goes_on = small.work(tmp_path / "stopped")
    assert same(weights(straight), weights(small.train(small.job(), small.data(), 9, goes_on).model))
    assert any(line.startswith("going on from step") for line in goes_on.runtime.progress.lines)


def test_held_out_bits_per_byte_is_the_same_sum_that_transformers_gives():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPTBigCodeConfig(**{k: v for k, v in small.CONFIG.to_json().items() if k != "architectures"})
    theirs = transformers.GPTBigCodeForCausalLM(config).eval()
    ours = GPTBigCode(small.CONFIG, seed=3)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    theirs.tie_weights()
    data = small.data()
    found = heldout.score(ours, data.heldout[looks.ALL], data.byte_lengths, data.context)
    nats = 0.0
    ids = torch.from_numpy(data.heldout[looks.ALL].astype(np.int64))
    for start in range(0, len(ids) - 1, data.context):
        window = ids[start : start + data.context + 1]
        with torch.no_grad():
            logits = theirs(window[None, :-1]).logits[0]
        nats += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
    in_bytes = data.byte_lengths[data.heldout[looks.ALL][1:]].sum()
    assert (found.tokens, found.bytes) == (len(ids) - 1, in_bytes)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / in_bytes, rel=1e-5)


@pytest.mark.parametrize("tokens", [0, 1, 2, 16, 17, 18, 1000])
def test_windows_predict_every_token_but_the_first_exactly_once(tokens):
    starts = heldout.window_starts(tokens, 16, None)
    assert sum(min(start + 16, tokens - 1) - start for start in starts) == max(0, tokens - 1)


def test_a_bound_spreads_windows_over_the_whole_split():
    starts = heldout.window_starts(10_001, 10, 100)
    assert len(starts) == 10 and starts[0] == 0 and starts[-1] >= 9000


def test_looks_are_evenly_spaced_and_a_function_of_the_steps():
    assert looks.looks(100, 4) == {20, 40, 60, 80}
    assert looks.looks(2, 10) <= {1} and looks.looks(50, 0) == set()


def test_nothing_held_out_is_no_score(tmp_path):
    outcome = small.train(
        small.job(heldout=Heldout()), small.data(heldout={"": np.zeros(0, np.uint16)}), 2, small.work(tmp_path)
    )
    assert outcome.score is None


def test_calibration_does_not_touch_the_run(tmp_path):
    plain = small.train(small.job(), small.data(), 3, small.work(tmp_path / "a")).model
    times = loop.step_times(small.job(), small.data(), 1.0, alone())
    after = small.train(small.job(), small.data(), 3, small.work(tmp_path / "b")).model
    assert len(times) >= 5 and same(weights(plain), weights(after))


def test_times_are_the_only_difference_between_the_logs_of_two_runs(tmp_path):
    for name in ("a", "b"):
        small.train(small.job(), small.data(), 4, small.work(tmp_path / name))
    first, second = (
        [{k: v for k, v in row.items() if k not in TIMES} for row in rows(tmp_path / name / "log.jsonl")]
        for name in "ab"
    )
    assert first == second


@pytest.mark.parametrize("nats", [math.inf, math.nan])
def test_a_look_without_a_number_is_no_value_in_the_log(tmp_path, monkeypatch, nats):
    """As fp16 can have it."""
    monkeypatch.setattr(loop, "look", lambda *_: {"": heldout.Score(nats, 1, 1, 1, 1)})
    log = list(rows(small.trained(tmp_path, 6) / "log.jsonl"))
    assert (
        len(log) == 6 and [row["heldout_bits_per_byte"] for row in log if "heldout_bits_per_byte" in row] == [None] * 2
    )
