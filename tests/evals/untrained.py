"""A model that learned nothing on a few files of two languages: real steps up to the tokens, random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from starloom import corpus, tokens
from starloom.models import presets
from starloom.stage import Runtime, Stage, Work, build
from starloom.store import Built, Store

CONTEXT = 48
PYTHON = '''"""Numbers {n}."""

LIMIT = {n}


def add_{n}(one, other):
    """The sum of two numbers,
    or {n}."""
    total = one + other
    if total > LIMIT:
        return LIMIT

    doubled = total * {n}
    return doubled


class Counter{n}:
    def __init__(self, start):
        # begin somewhere
        self.start = start
        self.value = start + {n}
        self.limit = LIMIT * start
        self.names = [str(self.value)]

    def count(self): return self.value
'''
SCRIPT = """export function double{n}(value) {{
  const twice = value * 2;
  const more = twice + {n};
  console.log(more, twice);
  return more;
}}
"""


def source(folder: Path, packages: int = 6) -> Path:
    """Packages of a Python and a JavaScript file each."""
    for n in range(packages):
        package = folder / "project" / f"package{n}"
        package.mkdir(parents=True)
        (package / "numbers.py").write_text(PYTHON.format(n=n))
        (package / "double.js").write_text(SCRIPT.format(n=n))
    return folder / "project"


@dataclass(frozen=True, slots=True)
class Untrained(Stage):
    """A model folder with random weights for a packed corpus."""

    packed: Stage
    seed: int = 0

    def produce(self, work: Work) -> None:
        from starloom.models.causal_lm import save_model
        from starloom.models.gpt_bigcode import GPTBigCode
        from starloom.tokens.bpe import Vocabulary

        vocabulary = Vocabulary.load(work.input("packed"))
        config = replace(
            presets.QUICKSTART, n_layer=1, n_embd=32, n_head=2, n_inner=64, n_positions=CONTEXT,
            vocab_size=vocabulary.rows, bos_token_id=vocabulary.end_of_document, eos_token_id=vocabulary.end_of_document,
        )  # fmt: skip
        with work.unit("model") as unit:
            save_model(GPTBigCode(config, seed=self.seed), unit.folder)
            vocabulary.save(unit.folder)


@dataclass(frozen=True, slots=True)
class Journey:
    """The stages that an evaluation stands on."""

    clean: Stage
    packed: Stage
    base: Stage


def journey(project: Path, heldout: float = 0.5, with_languages: bool = True) -> Journey:
    files = corpus.Read(str(project), shard_bytes=1000)
    language = corpus.Language(files)
    clean = corpus.Mix(files, (language,) if with_languages else (), layout="starcoder", metadata=0.5, heldout=heldout)
    packed = tokens.Pack(clean, tokens.TrainBPE(clean, vocab_size=400), context=CONTEXT)
    return Journey(clean, packed, Untrained(packed))


def built(stages: Sequence[Stage], where: Path) -> list[Built]:
    known: dict[int, Built] = {}
    return [build(stage, Store(where), Runtime(), built=known) for stage in stages]
