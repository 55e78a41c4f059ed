"""Our engine behind lm-evaluation-harness is what the harness' own model is: requests, answers and figures."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import leaderboard_data as small
import pytest

import starloom
from generate.completion_server import fails, says, serving
from starloom.errors import GenerationError, SourceError
from starloom.evals.leaderboard import Leaderboard, leaderboard_tasks
from starloom.evals.leaderboard.asking import documents
from starloom.evals.leaderboard.board import named
from starloom.evals.leaderboard.data import read
from starloom.evals.leaderboard.harness_tasks import harness_module, harness_tasks
from starloom.models import presets
from starloom.stage import Runtime, build
from starloom.store import Built, Store

pytest.importorskip("lm_eval", reason="pip install 'starloom[leaderboard]'")
pytestmark = [
    pytest.mark.slow,  # 20 s, most of them imports of the harness
    pytest.mark.filterwarnings("default"),  # of the harness and its libraries
]
CONTEXT = 300  # shorter than ARC's 25 shots; room for the 256 tokens of a text and a little of its prompt
PUBLISHED_DROP = {
    "doc_to_text": "Passage: {{passage}}\nQuestion: {{question}}\nAnswer:",
    "doc_to_target": "{{answers[0] | join(', ')}}", "target_delimiter": " ",
}  # fmt: skip
ROOT = Path(starloom.__file__).parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small.written(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: str) -> Path:
    """A model with random weights, large ones so that its answers differ."""
    from starloom.models.causal_lm import save_model
    from starloom.models.gpt_bigcode import GPTBigCode
    from starloom.tokens.bpe import train

    texts = [json.dumps(row) for task in leaderboard_tasks() for one in read(task, data).sets.values()
             for rows in one.values() for row in rows]  # fmt: skip
    vocabulary = train(texts, vocab_size=600)
    config = replace(
        presets.QUICKSTART, n_layer=2, n_embd=32, n_head=2, n_inner=64, n_positions=CONTEXT, initializer_range=0.3,
        vocab_size=vocabulary.rows, bos_token_id=vocabulary.end_of_document, eos_token_id=vocabulary.end_of_document,
    )  # fmt: skip
    where = tmp_path_factory.mktemp("model")
    save_model(GPTBigCode(config, seed=3), where)
    vocabulary.save(where)
    return where


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    harness_module()
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=3)


@pytest.fixture(scope="module")
def ours(folder: Path) -> Any:
    session = starloom.load(folder, slots=8)
    return harness_module("starloom.evals.leaderboard.harness_model").GeneratorLM(session)


@pytest.fixture(scope="module")
def built(folder: Path, data: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
    stage = Leaderboard(model=str(folder), data=data)
    return build(stage, Store(tmp_path_factory.mktemp("store")), Runtime())


def requests(task: str, data: str, limit: int | None = None) -> list[Any]:
    one = named(task)
    return [
        request for document in documents(harness_tasks(one, read(task, data)), limit) for request in document.requests
    ]


@pytest.mark.parametrize("task", leaderboard_tasks())
def test_every_answer_is_that_of_the_harness_own_model(task: str, data: str, ours: Any, theirs: Any) -> None:
    asked = requests(task, data)
    kind = asked[0].request_type
    mine, reference = getattr(ours, kind)(asked), getattr(theirs, kind)(asked, disable_tqdm=True)
    if kind == "generate_until":
        assert mine == reference
    else:
        assert [total for total, _ in mine] == pytest.approx([total for total, _ in reference], abs=1e-3, rel=1e-5)
        assert [greedy for _, greedy in mine] == [greedy for _, greedy in reference]


def test_contexts_were_long_enough_to_be_cut(data: str, ours: Any) -> None:
    assert max(len(ours.tok_encode(request.args[0])) for request in requests("arc_challenge", data)) > 2 * CONTEXT
    assert max(len(ours.tok_encode(request.args[0])) for request in requests("gsm8k", data)) > CONTEXT - 256


@pytest.mark.parametrize("task", leaderboard_tasks())
def test_every_request_and_figure_is_that_of_the_harness_own_evaluation(
    task: str, data: str, built: Built, theirs: Any, tmp_path: Path
) -> None:
    """As a user of the harness would: its own configurations with `dataset_path: json` and files, `simple_evaluate`."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    one, settings = named(task), []
    for subject, splits in read(task, data).sets.items():
        files = {split: str(tmp_path / f"{subject}-{split}.jsonl") for split in splits}
        for split, rows in splits.items():
            Path(files[split]).write_bytes(small.lines(rows))
        setting = {
            "task": one.harness + subject, "dataset_path": "json", "dataset_name": None,
            "dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path)},
        }  # fmt: skip
        if "train" not in splits:
            setting["training_split"] = None
        if "test" in splits:
            setting["validation_split"] = None
        settings.append(setting | (PUBLISHED_DROP if task == "drop" else {}))
    manager = TaskManager(include_defaults=False, include_path=[  # all of the harness' thousands take a minute to list
        Path(harness_module().__file__).parent / "tasks" / ("mmlu/default" if task == "mmlu" else task.partition("_")[0])
    ])  # fmt: skip
    said = simple_evaluate(
        model=theirs, tasks=[{"group": "board", "task": settings}], num_fewshot=one.shots, bootstrap_iters=0,
        task_manager=manager,
    )  # fmt: skip
    samples = [
        sample for setting in settings for sample in said["samples"][setting["task"]] if sample["filter"] == one.filter
    ]
    arguments = [arguments for sample in samples for arguments in sample["arguments"]]
    assert [tuple(arguments) for arguments in arguments] == [request.args for request in requests(task, data)]
    values = [said["results"][setting["task"]][f"{one.metric},{one.filter}"] for setting in settings]
    found = json.loads(built.read_bytes("leaderboard.json"))["tasks"][task]
    assert found["value"] == pytest.approx(sum(values) / len(values), abs=1e-4 if task == "truthfulqa" else 1e-9)
    assert (found["documents"], found["shots"]) == (len(samples), one.shots)


def test_blanks_at_the_end_of_a_context_and_whole_texts(ours: Any, theirs: Any) -> None:
    from lm_eval.api.instance import Instance

    def asked(kind: str, *arguments: Any) -> list[Any]:
        return [Instance(kind, {}, one, number, metadata=("t", number, 1)) for number, one in enumerate(arguments)]  # type: ignore[arg-type]

    pairs = asked(
        "loglikelihood", ("a river ", "of stone"), ("a river \n ", "of"), ("", "stone"), ("x", " lantern, lantern")
    )
    for (mine, _), (reference, _) in zip(
        ours.loglikelihood(pairs), theirs.loglikelihood(pairs, disable_tqdm=True), strict=True
    ):
        assert mine == pytest.approx(reference, abs=1e-3)
    texts = asked("loglikelihood_rolling", ("short",), ("the stone and the river " * 200,))
    assert ours.loglikelihood_rolling(texts) == pytest.approx(
        theirs.loglikelihood_rolling(texts, disable_tqdm=True), rel=1e-5
    )


def test_the_prompts_are_the_published_ones(data: str) -> None:
    by_task = {task: requests(task, data)[0].args for task in leaderboard_tasks()}
    assert by_task["arc_challenge"][0].count("Question: ") == 26
    assert by_task["arc_challenge"][0].endswith("Question: Which stone holds 0 drops?\nAnswer:")
    assert by_task["arc_challenge"][1] == " the stone of a stone"
    assert by_task["hellaswag"] == (by_task["hellaswag"][0], " turns 0 times toward the stone.")
    assert by_task["hellaswag"][0].endswith("Making a stone: A man shows a river. The copper")
    assert by_task["hellaswag"][0].count("Making a ") == 11
    assert by_task["mmlu"][0].startswith(
        "The following are multiple choice questions (with answers) about anatomy.\n\n"
    )
    assert by_task["mmlu"][0].count("Answer:") == 6 and by_task["mmlu"][1] == " A"
    assert (
        by_task["truthfulqa"][0].startswith("Q: What is human life expectancy")
        and by_task["truthfulqa"][0].count("Q:") == 7
    )
    assert by_task["winogrande"][0].endswith("The stone did not fit the river as the stone")
    assert by_task["winogrande"][1] == " was 0 feet wide."
    assert by_task["gsm8k"][0].count("#### ") == 5 and by_task["gsm8k"][1]["until"][0] == "Question:"
    assert by_task["drop"][0].count("Passage: In May 1611") == 4 and "number" not in by_task["drop"][0]
    assert by_task["drop"][1]["until"] == ["."]


def test_shots_never_hold_the_document_that_is_asked(data: str) -> None:
    for task in ("hellaswag", "drop"):  # whose shots come from the documents themselves
        for document in documents(harness_tasks(named(task), read(task, data)), None):
            words = document.content["query"] if task == "hellaswag" else document.content["question"]
            assert document.requests[0].args[0].count(words) == 1


def test_a_limit_is_of_each_subject_and_more_than_there_is_is_all(folder: Path, data: str, tmp_path: Path) -> None:
    def documents_of(limit: int) -> dict[str, int]:
        stage = Leaderboard(tasks=("mmlu", "drop"), model=str(folder), data=data, limit=limit)
        found = build(stage, Store(tmp_path), Runtime())
        return {
            name: one["documents"] for name, one in json.loads(found.read_bytes("leaderboard.json"))["tasks"].items()
        }

    assert documents_of(2) == {"mmlu": 3, "drop": 2}
    assert documents_of(1000) == {"mmlu": 4, "drop": 5}


def test_every_document_has_a_row_with_what_was_asked_and_answered(built: Built) -> None:
    for task in leaderboard_tasks():
        rows = [json.loads(line) for line in built.read_bytes(f"documents/{task}.jsonl").splitlines()]
        assert [row["document"] for row in rows] == list(range(len(rows))) and all(row["error"] is None for row in rows)
        assert all(row["metrics"] and row["content"] and len(row["prompt_sha256"]) == 64 for row in rows)
        for row in rows:
            if "asked" in row:
                assert len(row["asked"]) == len(row["log_likelihoods"]) == len(row["greedy"]) >= 2
            else:
                assert isinstance(row["text"], str)


def test_nothing_is_asked_of_a_network_and_the_caller_is_left_as_it_was(
    folder: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refused)
    import logging
    import random

    import datasets

    before = (
        dict(os.environ),
        random.getstate(),
        logging.getLogger("lm_eval").level,
        datasets.are_progress_bars_disabled(),
    )
    build(Leaderboard(model=str(folder), data=data, limit=1), Store(tmp_path), Runtime())
    after = (
        dict(os.environ),
        random.getstate(),
        logging.getLogger("lm_eval").level,
        datasets.are_progress_bars_disabled(),
    )
    assert after == before


KILLED = """
import sys, os, signal
from pathlib import Path
from starloom.evals.harness import kept
from starloom.evals.leaderboard import Leaderboard, stage
from starloom.stage import Runtime, build
from starloom.store import Store
folder, data, store, count = sys.argv[1:]
kept.KEEP_EVERY_S = 0.0
stage.LEAST_TOKENS = stage.MOST_TOKENS = 512
keep, seen = kept.Kept.add, [0]
def add(self, *arguments, **named):
    keep(self, *arguments, **named)
    seen[0] += 1
    if seen[0] == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
kept.Kept.add = add
build(Leaderboard(model=folder, data=data, tasks=("mmlu", "gsm8k")), Store(Path(store)), Runtime())
"""


def test_a_killed_run_goes_on_to_the_identical_result(folder: Path, data: str, tmp_path: Path) -> None:
    def ran(store: str, count: int) -> int:
        arguments = [sys.executable, "-c", KILLED, str(folder), data, str(tmp_path / store), str(count)]
        return subprocess.run(arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode

    assert ran("whole", 0) == 0
    assert ran("killed", 2) == -signal.SIGKILL and ran("killed", 6) == -signal.SIGKILL
    assert ran("killed", 0) == 0
    (whole,), (killed,) = ((Path(tmp_path) / name).glob("leaderboard-*") for name in ("whole", "killed"))
    for path in whole.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl") and path.name != "manifest.json":
            assert (killed / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_a_document_that_the_model_cannot_take_in_is_counted_apart(folder: Path, data: str, tmp_path: Path) -> None:
    rows = json.loads(small.truthfulqa(3))
    rows[1]["mc2_targets"] = {"stone " * 2 * CONTEXT: 1, "a river": 0}
    (small.written(tmp_path / "data") / "truthfulqa/v0-mc_task.json").write_text(json.dumps(rows))
    stage = Leaderboard(tasks=("truthfulqa",), model=str(folder), data=str(tmp_path / "data"))
    found = json.loads(build(stage, Store(tmp_path / "store"), Runtime()).read_bytes("leaderboard.json"))
    one = found["tasks"]["truthfulqa"]
    assert (one["documents"], one["failed"]) == (3, 1) and 0 < one["value"] < 1
    assert "tokens" in one["failures"][0]


def test_a_subject_that_is_none_is_refused(data: str, tmp_path: Path) -> None:
    for split in ("dev", "test"):
        (tmp_path / f"mmlu/{split}").mkdir(parents=True)
        (tmp_path / f"mmlu/{split}/knitting_{split}.csv").write_bytes(small.mmlu(5, "knitting"))
    with pytest.raises(SourceError, match="knitting"):
        harness_tasks(named("mmlu"), read("mmlu", str(tmp_path)))


class OnlyTexts:
    """A generator that shows no tokens and no likelihoods, as a server that does not echo."""

    capabilities = frozenset({"complete"})

    def run(self, asks: Any) -> Any:
        from starloom.generate.protocol import Completion

        for number, ask in enumerate(asks):
            assert ask.settings.max_tokens == 256 and ask.settings.stop
            yield GenerationError("refused") if number == 1 else Completion(" 4 + 4 = 8.\n#### 8\n", (), "stop")


def test_a_generator_without_likelihoods_writes_texts(data: str) -> None:
    lm = harness_module("starloom.evals.leaderboard.harness_model").GeneratorLM(OnlyTexts(), keep_errors=True)
    answers = lm.generate_until(requests("gsm8k", data))
    assert answers[0] == " 4 + 4 = 8.\n#### 8\n" and isinstance(answers[1], GenerationError)
    with pytest.raises(GenerationError, match="does not show its tokens"):
        lm.loglikelihood_rolling(requests("gsm8k", data))


def echoing(session: Any) -> Any:
    """A server that gives the log-probability of each token of a prompt, as vLLM does when it is asked to echo."""

    def answer(handler: Any, body: dict[str, Any]) -> None:
        words = session.vocabulary
        ids = words.encode(body["prompt"])
        (likelihood,) = session.engine.loglikelihood([(ids[:1], ids[1:])])
        offsets = [len(words.decode(ids[:place])) for place in range(len(ids))]
        chances = [None, *likelihood.logprobs]
        told = {
            "text_offset": offsets, "token_logprobs": chances, "top_logprobs": [chance and {"": chance} for chance in chances],
        }  # fmt: skip
        says(body["prompt"], logprobs=told)(handler, body)

    return answer


def test_a_server_that_echoes_gives_the_same_figures(folder: Path, data: str, built: Built, tmp_path: Path) -> None:
    with serving(echoing(starloom.load(folder))) as server:
        stage = Leaderboard(tasks=("winogrande",), model=f"openai:{server.url}#m", data=data)
        found = build(stage, Store(tmp_path), Runtime())
    for theirs, ours in zip(
        *(one.read_bytes("documents/winogrande.jsonl").splitlines() for one in (found, built)), strict=True
    ):
        one, other = json.loads(theirs), json.loads(ours)
        assert one["log_likelihoods"] == pytest.approx(other["log_likelihoods"], abs=1e-4)
        assert one["metrics"] == other["metrics"]


def test_a_server_that_does_not_echo_answers_the_tasks_that_ask_for_texts(data: str, tmp_path: Path) -> None:
    with serving(says(" It is 0.\n#### 0")) as server:
        model = f"openai:{server.url}#m"
        stage = Leaderboard(tasks=("winogrande", "gsm8k"), model=model, data=data)
        found = json.loads(build(stage, Store(tmp_path), Runtime()).read_bytes("leaderboard.json"))["tasks"]
        with pytest.raises(GenerationError, match=r"does not echo the log-probabilities of a prompt.*gsm8k and drop"):
            build(Leaderboard(tasks=("winogrande", "mmlu"), model=model, data=data), Store(tmp_path), Runtime())
    assert found["gsm8k"]["value"] == 1 / 4  # of 0, 2, 4 and 6
    assert found["winogrande"]["value"] is None and "does not echo" in found["winogrande"]["skipped"]


def test_a_server_that_goes_away_ends_the_run_and_not_the_documents(data: str, tmp_path: Path) -> None:
    def stage_of(server: Any) -> Leaderboard:
        return Leaderboard(tasks=("gsm8k",), model=f"openai:{server.url}#m", data=data)

    with (
        serving(fails(400), fails(401)) as server,
        pytest.raises(GenerationError, match="run again when the server is well"),
    ):
        build(stage_of(server), Store(tmp_path), Runtime())
    with serving(fails(400), fails(400, "too long")) as server:  # this one speaks of what was asked
        found = json.loads(build(stage_of(server), Store(tmp_path), Runtime()).read_bytes("leaderboard.json"))["tasks"]
    assert found["gsm8k"]["failed"] == 4 and found["gsm8k"]["value"] is None
