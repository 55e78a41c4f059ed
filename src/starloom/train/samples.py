"""What the model writes while it trains: at each look, it goes on from the same few places in held-out files.

Places, draws and the number of tokens are functions of the data, the seed and the length of the run, so that a run that was
killed and resumed has the samples of one that never was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starloom.errors import GenerationError
from starloom.generate.backends.torch import TorchBackend
from starloom.generate.protocol import Prompt, Settings
from starloom.generate.session import Session
from starloom.models.causal_lm import CausalLM
from starloom.records import uniform
from starloom.store import Built
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.dataset import Dataset
from starloom.train.log import Row, rows

SAMPLES = "samples.jsonl"
LINES, CHARACTERS = 8, 400  # of what is given, at most: our choice
FILE_TOKENS = 2048  # looked at of each file
LONGEST, SHORTEST = 48, 8  # tokens of a sample; where there is time for fewer, none are written: our choice
SHARE = 0.01  # of the run, for all of its samples
# One step of decoding in trained tokens of the same model, from above. On two CPU cores a step reads each weight once, at
# about 10 GB/s, and training computes 6 operations with it, at about 150 GFLOP/s: 10, and as many again for what is not
# matrices; measured: 30 to 40 (benchmarks/train_watch.py). A GPU waits for Python and launches kernel after kernel: our estimate.
STEP_COST = {"cpu": 50, "cuda": 10_000}


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a sample begins: the lines that the model is given, and a few that the file goes on with."""

    source: str  # id of the file
    text: str
    truth: str


@dataclass(frozen=True, slots=True)
class Sampler:
    """Writes on from the same openings, each time it is asked."""

    openings: tuple[Opening, ...]
    vocabulary: Vocabulary
    tokens: int  # of each sample, at most
    seed: int

    def __call__(self, model: CausalLM) -> list[Row]:
        """One row for each opening. The model is as it was afterwards, and so is torch's random state."""
        was_training = model.training
        model.eval()
        try:
            session = Session(TorchBackend(model), self.vocabulary, slots=len(self.openings))
            answers = list(session.run([Prompt(one.text, self._settings(one)) for one in self.openings]))
        finally:
            model.train(was_training)
        found: list[Row] = []
        for one, answer in zip(self.openings, answers, strict=True):
            row: Row = {"source": one.source, "prompt": one.text, "truth": one.truth}
            if isinstance(answer, GenerationError):
                found.append({**row, "text": "", "tokens": 0, "finish_reason": None, "error": str(answer)})
            else:
                said = {"text": answer.text, "tokens": len(answer.tokens), "finish_reason": answer.finish_reason}
                found.append({**row, **said, "error": None})
        return found

    def _settings(self, one: Opening) -> Settings:
        seed = int(uniform(self.seed, "sample", one.source) * 2**31)
        return Settings(max_tokens=self.tokens, temperature=0.7, top_p=0.95, seed=seed, keep="end")  # as evals.Samples


def tokens_each(samples: int, looks: int, trained: int, device: str) -> int:
    """How long each of so many samples may be for all of them to cost no more than `SHARE` of a run that trains on so many
    tokens; 0 when that is too short to say anything. They are written side by side."""
    if samples == 0 or looks == 0:
        return 0
    given = samples * CHARACTERS // 3  # tokens: of three bytes and more each
    steps = (SHARE * trained / looks - given) / STEP_COST["cuda" if device.startswith("cuda") else "cpu"]
    return min(LONGEST, int(steps)) if steps >= SHORTEST else 0


def openings(packed: Sequence[Built], count: int, seed: int) -> tuple[Opening, ...]:
    """As many places in held-out files, chosen by chance, each of another file."""
    candidates: list[tuple[float, bytes, int, int, int]] = []
    for number, pack in enumerate(packed):
        table = pack.table("segments-heldout.parquet", ["source", "start", "end"])
        columns = (table[name].to_pylist() for name in ("source", "start", "end"))
        candidates += [
            (uniform(seed, "sampled file", source), source, number, start, end)
            for source, start, end in zip(*columns, strict=True)
            if source is not None
        ]
    found: dict[str, Opening] = {}
    for _, source, number, start, end in sorted(candidates):
        if len(found) == count:
            break
        heldout = Dataset(packed[number], "heldout")
        text = heldout.vocabulary.decode(heldout.tokens[start : min(end, start + FILE_TOKENS)].tolist())
        if source.hex() not in found and (one := opening(source.hex(), text, seed)) is not None:
            found[source.hex()] = one
    return tuple(found.values())


def opening(source: str, text: str, seed: int) -> Opening | None:
    """A place in a text, by chance: after a line that opens a block where there is one. None without lines to choose from."""
    lines = text.split("\n")[:-1]  # the last may be cut off
    blocks = [number for number, line in enumerate(lines) if line.rstrip().endswith((":", "{"))]
    places = [number for number in blocks if number + 1 < len(lines)] or [
        number for number, line in enumerate(lines[:-1]) if line.strip()
    ]
    if not places:
        return None
    place = places[int(uniform(seed, "sampled line", source) * len(places))]
    given = "\n".join(lines[max(0, place + 1 - LINES) : place + 1])[-CHARACTERS:]
    return Opening(source, given, "\n" + "\n".join(lines[place + 1 : place + 1 + LINES // 2])[:CHARACTERS])


def write_samples(log: Path, path: Path) -> None:
    """The samples of a log by themselves, one a line with its step; no file where there are none."""
    found = [{"step": row["step"], **sample} for row in rows(log) for sample in row.get("samples", ())]
    if found:
        path.write_text("".join(json.dumps(sample) + "\n" for sample in found), encoding="utf-8")
