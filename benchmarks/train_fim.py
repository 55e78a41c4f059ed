"""Fill-in-the-middle, tokens per core-second: ours beside the published route, and what the loader takes of a step.

    python benchmarks/train_fim.py [--pairs 9] [--tokens 200000] [--vocab 8192 49152] [--store DIR] [--only fim|loader]

The published route (Megatron-LM fork, `permute`): decode a fragment, cut its text in two places, encode the three pieces; by
the `tokenizers` library, which gets the pieces in one call or one by one, whichever is faster there. Both contestants read the
same samples of real code: packed to contexts of 512 and 2,048 tokens, and whole files of 3,000 to 5,000. All fragments are
permuted. One thread each, taking turns; every turn has cuts of its own, so words met for the first time are among them; a
ratio is the median of the turns'. Ours begins with a vocabulary that has encoded nothing. Before that, both run on the same
cuts, and how many samples come out with the same ids is counted: all but those whose edges cut a character in two, where the
published route trains on U+FFFD. Also counted: what being cut or padded to its length costs a sample, and how much is encoded.

The loader is `Dataset.batch` of the quickstart's pack, at its rate and at 1, beside a step of the quickstart's model and of one
of 12.5M parameters in fp32; the batch at rate 1 is drawn behind the other, which warms the caches for it. Appends one line to benchmarks/results/train_fim.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sysconfig
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}  # before the library is loaded

import numpy as np
import torch
from tokenizers import Tokenizer

from starloom.models import presets
from starloom.models.causal_lm import new_model
from starloom.models.config import GPTBigCodeConfig
from starloom.progress import Lines
from starloom.recipes.quickstart import quickstart
from starloom.stage import Runtime, build
from starloom.store import Store
from starloom.tokens.bpe import Vocabulary, train
from starloom.tokens.dataset import Dataset
from starloom.tokens.fim import FIM, apply, chance, place

RESULTS = Path(__file__).parent / "results" / "train_fim.jsonl"
ALL = FIM(rate=1, spm=0.5)
LARGEST = 200_000  # bytes of a file
WHOLE = range(3000, 5001)  # tokens of a file that is a sample by itself
TWELVE_MILLION = GPTBigCodeConfig(
    vocab_size=8192, n_positions=512, n_embd=384, n_layer=6, n_head=6, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
)
Samples = list[np.ndarray[Any, np.dtype[np.int64]]]


class Published:
    """The published route, one thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokenizer = Tokenizer.from_str(vocabulary.files()["tokenizer.json"].decode())
        self.eod = vocabulary.end_of_document
        self.sentinels = [vocabulary.control(f"fim_{name}") for name in ("prefix", "middle", "suffix", "pad")]
        self.at_once = True

    def encoded(self, pieces: list[str]) -> list[list[int]]:
        if self.at_once:
            return [one.ids for one in self.tokenizer.encode_batch_fast(pieces, add_special_tokens=False)]
        return [self.tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces]

    def permuted(self, fragment: np.ndarray[Any, Any], draw: Callable[[int], tuple[int, int, bool]]) -> Any:
        prefix, middle, suffix, _ = self.sentinels
        contents = self.tokenizer.decode(fragment.tolist(), skip_special_tokens=False)
        low, high, spm = draw(len(contents))
        parts = self.encoded([contents[:low], contents[low:high], contents[high:]])
        before, between, after = (np.array(ids, dtype=np.int64) for ids in parts)
        if spm:
            return np.concatenate([[prefix, suffix], after, [middle], before, between])
        return np.concatenate([[prefix], before, [suffix], after, [middle], between])

    def sample(self, ids: np.ndarray[Any, Any], draw: Callable[[int, int], tuple[int, int, bool]]) -> Any:
        """`draw` takes the fragment's number and its length in characters."""
        new: list[Any] = []
        begin = 0
        ends = [*np.flatnonzero(ids == self.eod).tolist(), len(ids)]
        for fragment, end in enumerate(ends):
            if begin < end:
                new.append(self.permuted(ids[begin:end], lambda length, number=fragment: draw(number, length)))
            if end < len(ids):
                new.append([self.eod])
            begin = end + 1
        found = np.concatenate(new)[: len(ids)].astype(np.int64)
        return np.concatenate([found, np.full(len(ids) - len(found), self.sentinels[3])])

    def run(self, samples: Samples, seed: int) -> None:
        """A turn, with the draws as published."""
        generator = np.random.RandomState(seed)

        def draw(_: int, length: int) -> tuple[int, int, bool]:
            low, high = sorted(generator.randint(low=0, high=length + 1, size=2))
            return low, high, bool(generator.binomial(1, ALL.spm))

        for ids in samples:
            self.sample(ids, draw)

    def same_cuts(self, ids: np.ndarray[Any, Any], number: int) -> list[int]:
        """The sample on the cuts that ours draws."""

        def draw(fragment: int, length: int) -> tuple[int, int, bool]:
            drawn = chance(ALL, seed=0, epoch=0, sample=number, fragment=fragment)
            low, high = sorted(place(word, length + 1) for word in drawn.cuts)
            return low, high, drawn.spm

        return self.sample(ids, draw).tolist()  # type: ignore[no-any-return]


def ours(samples: Samples, vocabulary: Vocabulary, epoch: int) -> None:
    for number, ids in enumerate(samples):
        _ = apply(ids, vocabulary, ALL, seed=0, epoch=epoch, sample=number).ids


def texts(megabytes: float) -> list[str]:
    """Files of the standard library, each content once, in an order of chance."""
    found: dict[bytes, str] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" not in path.parts and 0 < path.stat().st_size <= LARGEST:
            data = path.read_bytes()
            try:
                found[hashlib.blake2b(data).digest()] = data.decode()
            except UnicodeDecodeError:
                continue
    chosen = []
    for _, text in sorted(found.items()):
        chosen.append(text)
        megabytes -= len(text) / 1e6
        if megabytes < 0:
            break
    return chosen


def layouts(corpus: list[str], words: Vocabulary, tokens: int) -> dict[str, Samples]:
    encoded = [np.array(ids, np.int64) for ids in words.encode_batch(corpus)]
    stream = np.concatenate([np.append(ids, words.end_of_document) for ids in encoded])
    found: dict[str, Samples] = {}
    for context in (512, 2048):
        count = min(tokens, len(stream) - 1) // context
        found[f"context {context}"] = [stream[context * at : context * at + context + 1] for at in range(count)]
    whole = [ids for ids in encoded if len(ids) in WHOLE]
    found["whole files"] = whole[: max(1, tokens // statistics.mean(WHOLE).__ceil__())]
    return found


def core_seconds(turn: Callable[[], None]) -> float:
    began = time.process_time()
    turn()
    return time.process_time() - began


def compare(name: str, samples: Samples, words: Vocabulary, pairs: int) -> dict[str, Any]:
    route = Published(words)
    own = Vocabulary(words.files()["tokenizer.json"], "the benchmark's")
    _ = own.seams
    total = sum(map(len, samples))
    by = {}
    for at_once in (True, False, True, False):
        route.at_once = at_once
        by[at_once] = core_seconds(partial(route.run, samples, 0))
    route.at_once = by[True] <= by[False]
    times: dict[str, list[float]] = {"ours": [], "published": []}
    for turn in range(pairs):
        contestants = [("ours", partial(ours, samples, own, turn)), ("published", partial(route.run, samples, turn))]
        for who, run in contestants[:: 1 if turn % 2 else -1]:
            times[who].append(core_seconds(run))
    row = {
        "samples": len(samples),
        "tokens": total,
        "published_encodes": "three pieces in one call" if route.at_once else "piece by piece",
        **{who: spread([total / one for one in seconds]) for who, seconds in times.items()},
        "ratio": spread([theirs / one for one, theirs in zip(times["ours"], times["published"], strict=True)]),
        "ratio_of_first_turn": round(times["published"][0] / times["ours"][0], 2),
        **agreement(samples, words, route),
        "rate_1": cost(samples, words, ALL),
        "rate_.5": cost(samples, words, FIM()),
    }
    print(f"{words.size:,} tokens, {name:<12} ours {row['ours']['median'] / 1e6:6.2f}M tokens a core-second, published "
          f"{row['published']['median'] / 1e6:5.2f}M; ratio {row['ratio']}, {row['same_ids']} of {len(samples)} samples "
          f"the same, {row['half_characters']} with half characters", flush=True)  # fmt: skip
    return row


def agreement(samples: Samples, words: Vocabulary, route: Published) -> dict[str, Any]:
    """Samples with the same ids on the same cuts, those that begin or end in half a character, and what was encoded."""
    same = halves = characters = fragments = 0
    for number, ids in enumerate(samples):
        after = apply(ids, words, ALL, seed=0, epoch=0, sample=number)
        same += after.ids.tolist() == route.same_cuts(ids, number)
        try:
            words.bytes_of(ids).decode()
        except UnicodeDecodeError:
            halves += 1
        fragments += after.fit.permuted
        characters += sum(map(len, after.texts))
    return {
        "same_ids": same,
        "half_characters": halves,
        "characters_encoded_a_fragment": round(characters / fragments, 1),
    }


def cost(samples: Samples, words: Vocabulary, fim: FIM) -> dict[str, Any]:
    """What a sample loses for keeping its length."""
    fits = [apply(ids, words, fim, seed=0, epoch=0, sample=number).fit for number, ids in enumerate(samples)]
    permuted = max(1, sum(fit.permuted for fit in fits))
    return {
        "fragments_permuted": permuted,
        "of_these_middle_shortened": round(sum(fit.shortened for fit in fits) / permuted, 4),
        "of_these_middle_gone": round(sum(fit.gone for fit in fits) / permuted, 4),
        "samples_with_a_middle_shortened": round(sum(fit.shortened > 0 for fit in fits) / len(fits), 4),
        "samples_padded": round(sum(fit.pads > 0 for fit in fits) / len(fits), 4),
        "tokens_lost_a_sample": round(sum(fit.lost for fit in fits) / len(fits), 2),
        "pads_a_sample": round(sum(fit.pads for fit in fits) / len(fits), 2),
    }


def loader(store: Path, threads: int, pairs: int) -> dict[str, Any]:
    """Seconds of a batch beside those of a step, in turns."""
    packed = build(quickstart().steps()["pack"], Store(store), Runtime(threads, threads, progress=Lines()))
    data = Dataset(packed)
    torch.set_num_threads(threads)
    found = {}
    for name, config, size in (("quickstart", presets.QUICKSTART, 4), ("12.5M", TWELVE_MILLION, 8)):
        torch.manual_seed(0)
        model = new_model(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)

        def step(ids: Any, model: Any = model, optimizer: Any = optimizer) -> None:
            ids_BT = torch.from_numpy(ids)
            model.loss(ids_BT[:, :-1], ids_BT[:, 1:]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        taken: dict[str, list[float]] = {"step": [], "batch": [], "batch_at_rate_1": []}
        for turn in range(2 + pairs):
            ids, seconds = timed(partial(data.batch, seed=0, step=turn, size=size, fim=FIM()))
            _, all_seconds = timed(partial(data.batch, seed=0, step=turn, size=size, fim=ALL))
            _, step_seconds = timed(partial(step, ids))
            if turn >= 2:  # two to warm up
                for key, value in zip(taken, (step_seconds, seconds, all_seconds), strict=True):
                    taken[key].append(value)
        row = {key: spread(values, 6) for key, values in taken.items()}
        for key in ("batch", "batch_at_rate_1"):
            row[f"{key}_of_step"] = spread([a / b for a, b in zip(taken[key], taken["step"], strict=True)], 6)
        found[name] = {"parameters": config.parameter_count(), "sequences": size, "context": data.context, **row}
        print(f"loader, {name} model, {size} × {data.context}: a batch {row['batch']['median'] * 1e3:.2f} ms at rate .5, "
              f"{row['batch_at_rate_1']['median'] * 1e3:.2f} ms at 1; a step {row['step']['median'] * 1e3:.0f} ms; "
              f"{row['batch_of_step']['median']:.2%} and {row['batch_at_rate_1_of_step']['median']:.2%} of it", flush=True)  # fmt: skip
    return found


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    ordered = sorted(values)
    tenth = len(ordered) // 10
    return {
        "median": round(statistics.median(ordered), digits),
        "p10": round(ordered[tenth], digits),
        "p90": round(ordered[-1 - tenth], digits),
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return {
        "cpu": next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--tokens", type=int, default=200_000, help="of a turn, about")
    parser.add_argument(
        "--vocab", type=int, nargs="*", default=[8192, 49152], help="sizes to train, StarCoder's family"
    )
    parser.add_argument("--megabytes", type=float, default=10, help="of code, to train vocabularies and for samples")
    parser.add_argument("--threads", type=int, default=2, help="of the model's step; FIM has one")
    parser.add_argument(
        "--store", type=Path, default=Path("starloom-store"), help="with the quickstart's pack, or for it"
    )
    parser.add_argument("--only", choices=("fim", "loader"))
    options = parser.parse_args()

    row: dict[str, Any] = {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine()}
    print(row["machine"])
    if options.only != "loader":
        corpus = texts(options.megabytes)
        row["fim"] = {}
        for size in options.vocab:
            words = train(corpus, vocab_size=size)
            row["fim"][words.size] = {
                name: compare(name, samples, words, options.pairs)
                for name, samples in layouts(corpus, words, options.tokens).items()
            }
    if options.only != "fim":
        row["loader"] = loader(options.store, options.threads, options.pairs)
    row["machine"]["load_after"] = round(os.getloadavg()[0], 1)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
