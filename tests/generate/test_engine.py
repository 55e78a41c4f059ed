from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_backend import NumpyBackend

from starloom.errors import GenerationError
from starloom.generate import sampling
from starloom.generate.engine import Engine
from starloom.generate.protocol import Handle, Likelihood, Request
from starloom.generate.requests import scorer
from starloom.generate.sampling import Logits, Sampling

PROMPT = (3, 1, 4, 1, 5)


def finish(engine: Engine, *handles: Handle) -> list[list[int]]:
    while not all(handle.done for handle in handles):
        engine.step()
    return [handle.tokens for handle in handles]


def engine_of(backend: NumpyBackend, least: int = 1, **options: Any) -> Engine:
    """One that shares prefixes of `least` ids and up, and guesses."""
    engine = Engine(backend, **{"speculation": "auto", **options})
    engine._slots.least = least
    return engine


def assert_idle(engine: Engine, backend: NumpyBackend) -> None:
    """Nobody runs, and the backend holds what the engine keeps and nothing else."""
    assert not engine.busy
    assert {slot: ids for slot, ids in backend.held.items() if ids} == {
        slot: ids.tolist() for slot, ids in engine._slots._kept.items()
    }
    engine._slots.clear()
    assert not backend.held
    assert sorted(engine._slots._free) == list(range(engine._slots._made))


def recompute(backend: NumpyBackend, request: Request) -> list[int]:
    """The oracle: no engine, no slots; the whole sequence through the model for each id."""
    ids = list(request.prompt)
    while len(ids) < min(backend.context, len(request.prompt) + request.max_tokens):
        forbidden = np.array(sorted(request.forbid), dtype=np.intp)
        logits = sampling.adjusted(backend.logits(ids)[-1], request.sampling, ids, forbidden)
        if request.sampling.temperature == 0:
            token = int(logits.argmax())
        else:
            chances = sampling.distribution(logits, request.sampling)
            token = sampling.draw(chances, sampling.uniform(request.sampling.seed, len(ids), request.sampling.sample))
        if token in request.stop:
            break
        ids.append(token)
    return ids[len(request.prompt) :]


requests = st.builds(
    Request,
    prompt=st.lists(st.integers(0, 16), min_size=1, max_size=20).map(tuple),
    max_tokens=st.integers(1, 12),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 0.7, 1.5]),
        top_k=st.sampled_from([0, 3]),
        top_p=st.sampled_from([1.0, 0.8]),
        min_p=st.sampled_from([0.0, 0.1]),
        repetition_penalty=st.sampled_from([1.0, 1.3, 0.7]),  # below 1 it repeats itself, which makes guesses right
        logit_bias=st.sampled_from([(), ((3, 1.5),)]),
        seed=st.integers(0, 3),
        sample=st.integers(0, 1),
    ),
    stop=st.frozensets(st.integers(0, 16), max_size=2),
    forbid=st.frozensets(st.integers(0, 16), max_size=3),
)


@given(st.lists(st.tuples(requests, st.integers(0, 3)), min_size=1, max_size=7), st.integers(1, 4), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_requests_that_join_and_leave_get_what_they_would_get_alone(
    arrivals: list[tuple[Request, int]], slots: int, chunk: int
) -> None:
    backend = NumpyBackend()
    engine = engine_of(backend, slots=slots, chunk=chunk)
    handles = []
    for request, steps in arrivals:
        handles.append(engine.submit(request))
        for _ in range(steps):
            engine.step()
    assert finish(engine, *handles) == [recompute(backend, request) for request, _ in arrivals]
    assert_idle(engine, backend)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_order_of_operations_ends_in_the_same_tokens(data: st.DataObject) -> None:
    """Steps, cancels, rollbacks without a mask, joins: what is not cancelled equals recomputing."""
    backend = NumpyBackend()
    engine = engine_of(backend, slots=3, chunk=4)
    handles: list[Handle] = []
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["submit", "step", "cancel", "rollback", "score"]))
        if action == "submit":
            handles.append(engine.submit(data.draw(requests)))
        elif action == "step":
            engine.step()
        elif action == "score":
            engine.loglikelihood([((1, 2), (3,))])
        elif handles:
            handle = data.draw(st.sampled_from(handles))
            if action == "cancel":
                engine.cancel(handle)
            elif handle.finish_reason != "cancelled":
                engine.rollback(handle, data.draw(st.integers(len(handle.request.prompt), len(handle.ids))))
    finish(engine, *handles)
    for handle in handles:
        expected = recompute(backend, handle.request)
        assert handle.tokens == (expected[: len(handle.tokens)] if handle.finish_reason == "cancelled" else expected)
    assert_idle(engine, backend)


def test_a_rollback_with_a_mask_takes_the_other_way_and_the_mask_holds_once() -> None:
    backend = NumpyBackend()
    engine = Engine(backend)
    handle = engine.submit(Request(PROMPT, max_tokens=10))
    [first] = finish(engine, handle)
    engine.rollback(handle, len(PROMPT) + 4, forbid={first[4]})
    [second] = finish(engine, handle)
    logits = backend.logits([*PROMPT, *first[:4]])[-1]
    assert second[:4] == first[:4]
    assert second[4] == np.argsort(-logits, kind="stable")[1]
    way = Request((*PROMPT, *second[:5]), max_tokens=5)
    assert second[5:] == recompute(backend, way)


def test_the_mask_of_a_rollback_holds_for_one_draw() -> None:
    engine = Engine(NumpyBackend())
    handle = engine.submit(Request(PROMPT, max_tokens=40, sampling=Sampling(temperature=5)))
    finish(engine, handle)
    forbidden = set(range(17)) - {3}
    engine.rollback(handle, len(PROMPT) + 4, forbid=forbidden)
    [tokens] = finish(engine, handle)
    assert tokens[4] == 3
    assert forbidden.intersection(tokens[5:])


def test_an_id_that_was_rolled_back_is_drawn_again_at_the_same_seed() -> None:
    engine = Engine(NumpyBackend())
    request = Request(PROMPT, max_tokens=12, sampling=Sampling(temperature=1.2, seed=5), logprobs=True)
    handle = engine.submit(request)
    [straight] = finish(engine, handle)
    likely = list(handle.logprobs)
    for length in (len(PROMPT), len(PROMPT) + 7):
        engine.rollback(handle, length)
        assert finish(engine, handle) == [straight]
        assert handle.logprobs == pytest.approx(likely)


def test_a_rollback_outside_the_drawn_ids_says_what_is_possible() -> None:
    engine = Engine(NumpyBackend())
    handle = engine.submit(Request(PROMPT, max_tokens=2))
    finish(engine, handle)
    for length in (len(PROMPT) - 1, len(PROMPT) + 3):
        with pytest.raises(GenerationError, match=f"rollback to {length} is not possible: the sequence has 7 ids, 5"):
            engine.rollback(handle, length)
    engine.rollback(handle, len(PROMPT) + 2)
    assert handle.finish_reason == "length"  # nothing was taken back


def test_nan_logits_fail_their_request_alone() -> None:
    backend = NumpyBackend(poison=16)
    engine = Engine(backend, slots=2)
    good = Request(PROMPT, max_tokens=8, forbid=frozenset({16}))
    handles = [engine.submit(good), engine.submit(Request((2, 16, 2), max_tokens=8)), engine.submit(good)]
    tokens = finish(engine, *handles)
    assert [handle.finish_reason for handle in handles] == ["length", "error", "length"]
    assert "not finite" in str(handles[1].error)
    assert tokens == [recompute(backend, good), [], recompute(backend, good)]
    assert_idle(engine, backend)


def test_a_full_context_ends_a_request_as_length() -> None:
    engine = Engine(NumpyBackend(context=9))
    handle = engine.submit(Request(PROMPT, max_tokens=100))
    finish(engine, handle)
    assert (len(handle.ids), handle.finish_reason) == (9, "length")


def test_a_stop_id_ends_a_request_and_is_not_among_its_tokens() -> None:
    backend = NumpyBackend()
    plain = recompute(backend, Request(PROMPT, max_tokens=10))
    engine = Engine(backend)
    stop = plain[3]
    handle = engine.submit(Request(PROMPT, max_tokens=10, stop=frozenset({stop})))
    assert finish(engine, handle) == [plain[: plain.index(stop)]]
    assert (handle.finish_reason, handle.stop_id) == ("stop", stop)


def test_a_long_prompt_is_fed_in_pieces_while_others_go_on() -> None:
    backend = NumpyBackend(context=60)
    engine = Engine(backend, chunk=8)
    quick = engine.submit(Request(PROMPT, max_tokens=30))
    engine.step()
    slow, slower = (engine.submit(Request((first, *range(15)) * 3, max_tokens=1)) for first in (7, 8))
    before = len(quick.tokens)
    while not slow.done:
        engine.step()
    assert len(quick.tokens) == before + 6
    while not slower.done:
        engine.step()
    assert len(quick.tokens) == before + 12
    assert max(sum(count for _, count in batch if count > 1) for batch in backend.batches) <= 8


def test_the_pieces_of_a_prompt_do_not_depend_on_who_runs_beside_it() -> None:
    def pieces(*others: Request) -> list[int]:
        backend = NumpyBackend()
        engine = Engine(backend, chunk=8, slots=4)
        for other in others:
            engine.submit(other)
        handle = engine.submit(Request(tuple(range(13)) * 2, max_tokens=1))
        finish(engine, handle)
        return [count for batch in backend.batches for slot, count in batch if slot == len(others)]

    assert pieces() == pieces(Request((1, 2, 3), 9), Request(tuple(range(11)), 2)) == [8, 8, 8, 2]


def test_cancelling_frees_the_slot_at_once_and_only_once() -> None:
    backend = NumpyBackend()
    engine = Engine(backend, slots=1)
    running, waiting = (engine.submit(Request(PROMPT, max_tokens=20)) for _ in range(2))
    engine.step()
    for handle in (running, waiting, running):
        engine.cancel(handle)
    assert (running.finish_reason, waiting.finish_reason) == ("cancelled", "cancelled")
    assert_idle(engine, backend)


@given(st.lists(st.integers(0, 16), min_size=1, max_size=20), st.lists(st.integers(0, 16), max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_likelihood_is_the_sum_of_the_softmax_of_recomputed_logits(context: list[int], after: list[int]) -> None:
    backend = NumpyBackend()
    [likelihood] = Engine(backend, chunk=5).loglikelihood([(context, after)])
    assert isinstance(likelihood, Likelihood)
    logits = backend.logits(context + after).astype(float)[len(context) - 1 : -1]
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = [row[token] for row, token in zip(logprobs, after, strict=False)]
    assert likelihood.logprobs == pytest.approx(expected)
    assert likelihood.greedy == all(row.argmax() == token for row, token in zip(logprobs, after, strict=False))


def test_a_continuation_is_greedy_only_if_every_piece_of_it_is() -> None:
    backend = NumpyBackend()
    engine = Engine(backend, chunk=3)
    greedy = recompute(backend, Request(PROMPT, max_tokens=9))
    first = (greedy[0] + 1) % 17
    detour = [first, *recompute(backend, Request((*PROMPT, first), max_tokens=8))]
    results = engine.loglikelihood([(PROMPT, greedy), (PROMPT, detour)])
    assert [result.greedy for result in results if isinstance(result, Likelihood)] == [True, False]


def test_a_likelihood_that_fails_leaves_the_others_and_the_requests_alone() -> None:
    backend = NumpyBackend(poison=16)
    engine = Engine(backend, slots=2)
    handle = engine.submit(Request(PROMPT, max_tokens=9, forbid=frozenset({16})))
    results = engine.loglikelihood([((1, 2), (3, 4)), ((1, 16), (3,)), ((), (3,)), ((1,) * 48, (2, 2))])
    assert [isinstance(result, GenerationError) for result in results] == [False, True, True, True]
    assert finish(engine, handle) == [recompute(backend, handle.request)]


def test_the_logprob_of_a_token_is_its_likelihood() -> None:
    engine = Engine(NumpyBackend())
    request = Request(PROMPT, 10, Sampling(temperature=1.3, top_k=5), forbid=frozenset({2}), logprobs=True)
    handle = engine.submit(request)
    [tokens] = finish(engine, handle)
    [likelihood] = engine.loglikelihood([(PROMPT, tokens)])
    assert isinstance(likelihood, Likelihood)
    assert handle.logprobs == pytest.approx(likelihood.logprobs)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_backend_that_fails_once_loses_nothing(error: type[BaseException]) -> None:
    backend = NumpyBackend()
    engine = engine_of(backend, chunk=4)
    requests_ = [Request((first, *PROMPT), max_tokens=10) for first in (1, 2)]
    handles = [engine.submit(request) for request in requests_]
    for _ in range(4):
        engine.step()
    forward = backend.forward

    def half_way(*arguments: object) -> None:
        backend.forward = forward  # type: ignore[method-assign]
        forward(*arguments)  # type: ignore[arg-type]
        raise error

    backend.forward = half_way  # type: ignore[assignment,method-assign]
    if issubclass(error, Exception):
        engine.step()
    else:
        with pytest.raises(error):
            engine.step()
    assert finish(engine, *handles) == [recompute(backend, request) for request in requests_]
    assert_idle(engine, backend)


def test_the_request_that_the_backend_cannot_take_gets_the_error_and_the_others_go_on() -> None:
    backend = NumpyBackend()
    engine = engine_of(backend, chunk=4)
    forward = backend.forward

    def refuse(batch: Sequence[tuple[int, Sequence[int]]], every: Collection[int] = ()) -> list[Logits]:
        if any(16 in ids for _, ids in batch):
            raise RuntimeError("16 is too much")
        return forward(batch, every)

    backend.forward = refuse  # type: ignore[method-assign]
    prompts = [(1, 2, 3), (4, 5, 6, 7, 8, 16), (9, 10)]
    handles = [engine.submit(Request(prompt, 20, forbid=frozenset({16}))) for prompt in prompts]
    finish(engine, *handles)
    assert [handle.finish_reason for handle in handles] == ["length", "error", "length"]
    assert str(handles[1].error) == "the backend failed on this request: RuntimeError: 16 is too much"
    for handle in handles[::2]:
        assert handle.tokens == recompute(backend, handle.request)
    assert_idle(engine, backend)


def test_a_backend_that_fails_under_a_likelihood_counts_nothing_twice() -> None:
    backend = NumpyBackend()
    engine = Engine(backend, chunk=3)
    [expected] = engine.loglikelihood([(PROMPT, (7, 8, 9, 10, 11))])
    run = scorer(PROMPT, (7, 8, 9, 10, 11), backend)  # as if another thread had asked
    assert not isinstance(run, GenerationError)
    engine._submitted.append(run)
    other = engine.submit(Request((11, 12), 20))
    for _ in range(3):
        engine.step()
    assert run.handle.logprobs
    forward, backend.forward = backend.forward, lambda *arguments: 1 // 0  # type: ignore[method-assign,assignment]
    engine.step()
    backend.forward = forward  # type: ignore[method-assign]
    finish(engine, run.handle, other)
    assert Likelihood(tuple(run.handle.logprobs), run.greedy) == expected


def test_threads_may_submit_step_and_cancel_at_once() -> None:
    backend = NumpyBackend()
    engine = Engine(backend, slots=3)
    wrong: list[object] = []

    def work(seed: int) -> None:
        for turn in range(5):
            request = Request((1 + seed, 2), 8, Sampling(temperature=1, seed=seed))
            handle = engine.submit(request)
            if turn % 2:
                engine.step()
                engine.cancel(handle)
            while not handle.done:
                engine.step()
            expected = recompute(backend, request)
            if handle.finish_reason != "cancelled" and handle.tokens != expected:
                wrong.append((handle.tokens, expected))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert_idle(engine, backend)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request((), 1), "the prompt is empty; start from the id of end_of_document"),
        (Request((17,), 1), "id 17 in the prompt is not in the model's vocabulary of 17"),
        (Request((-1,), 1), "id -1 in the prompt"),
        (Request((1,) * 48, 1), "the prompt has 48 tokens and the model's context 48: cut the prompt to at most 47"),
        (Request((1,), 0), "max_tokens is a count from 1 up, not 0"),
        (Request((1,), 1, forbid=frozenset({99})), "id 99 in forbid"),
    ],
)
def test_a_request_that_can_never_run_is_refused_when_submitted(request_: Request, message: str) -> None:
    engine = Engine(NumpyBackend())
    with pytest.raises(GenerationError, match=message):
        engine.submit(request_)
    assert not engine.busy


def test_sharing_a_prefix_in_a_backend_equals_feeding_it() -> None:
    backend = NumpyBackend()
    backend.forward([(0, PROMPT)])
    backend.share(0, 1, 3)
    [shared] = backend.forward([(1, (9, 9))])
    assert np.array_equal(shared, backend.logits([*PROMPT[:3], 9, 9])[-1])


def test_generation_over_a_numpy_backend_needs_no_torch(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
sys.modules["torch"] = None
sys.path.insert(0, sys.argv[1])
import numpy as np
import starloom
from numpy_backend import NumpyBackend
from scripted import vocabulary
from starloom.errors import MissingExtraError
from starloom.generate import commands
from starloom.generate.session import Session
from starloom.models import checkpoint
from starloom.models.config import GPTBigCodeConfig

words = vocabulary()
session = Session(NumpyBackend(words.rows), words)
assert session.complete("def", max_tokens=5, temperature=1.0).prompt_tokens > 0
assert session.infill("a", "b", max_tokens=5).prompt_tokens == 5

folder = Path(sys.argv[2])
config = GPTBigCodeConfig(vocab_size=words.rows, n_positions=16, n_embd=8, n_layer=1, n_head=2)
checkpoint.save(folder, config, {name: np.zeros(shape, np.float32) for name, shape in config.shapes().items()})
words.save(folder)
try:
    starloom.load(str(folder))
except MissingExtraError as error:
    print(error)
"""
    arguments = [sys.executable, "-W", "error", "-c", program, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "torch is not installed; run: pip install 'starloom[train]'\n"


def test_a_request_whose_draw_fails_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong between logits and an id is that request's: the others' tokens stay what they are alone."""
    from starloom.generate import requests

    right = requests.choose

    def choose(logits: Any, sampling: Sampling, *rest: Any, **more: Any) -> int:
        if sampling.seed == 666:
            raise IndexError("index -1 is out of bounds")
        return right(logits, sampling, *rest, **more)

    monkeypatch.setattr(requests, "choose", choose)
    prompts = [(1, 2, 3), (4, 5), (6, 7, 8)]
    alone = []
    for prompt in prompts:
        engine = Engine(NumpyBackend())
        handle = engine.submit(Request(prompt, 6))
        while engine.busy:
            engine.step()
        alone.append(handle.tokens)
    engine = Engine(NumpyBackend())
    first = engine.submit(Request(prompts[0], 6))
    engine.step()
    bad = engine.submit(Request((9, 9), 6, Sampling(temperature=1.0, seed=666)))
    others = [engine.submit(Request(prompt, 6)) for prompt in prompts[1:]]
    while engine.busy:
        engine.step()
    assert bad.finish_reason == "error" and "IndexError" in str(bad.error)
    assert [one.tokens for one in (first, *others)] == alone


def test_a_count_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(GenerationError, match="max_tokens"):
        Engine(NumpyBackend()).submit(Request((1,), cast(Any, 2.5)))
