"""A training run on a blend of packs leads through each line's own pack and mix to its files, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from journey import small
from starloom import corpus, tokens, train
from starloom.cli import dispatch
from starloom.errors import ConfigError
from starloom.lineage.batch import sequences_of, steps_that_saw
from starloom.lineage.journal import Journal
from starloom.stage import Runtime, build
from starloom.store import Built, Store
from starloom.tokens.blend import Blend, open_packs
from starloom.tokens.dataset import Dataset
from starloom.tokens.fim import FIM
from starloom.train.budget import Steps
from starloom.train.settings import Heldout

STEPS, BATCH = 10, 3
MIXTURE = (1.0, 2.0)


def stage(folder: Path) -> train.Pretrain:
    """A run on the packs of two sources, which share the vocabulary of the first."""
    steps = small.journey(small.source(folder)).steps()
    files = corpus.Read(str(small.fixed_source(folder)))
    other = corpus.Mix(files, layout="starcoder", metadata=0.5, heldout=0.2, seed=1)
    vocab = steps["train_bpe"]
    packs = (steps["pack"], tokens.Pack(other, vocab, context=48, label="other"))
    budget, heldout = Steps(STEPS), Heldout(times=1)
    return train.Pretrain(
        packs, small.TINY, FIM(0.7, 0.5), budget, BATCH, precision="fp32", heldout=heldout, mixture=MIXTURE
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built, list[Built]]:
    folder = tmp_path_factory.mktemp("blend")
    done: dict[int, Built] = {}
    wanted = stage(folder)
    model = build(wanted, Store(folder / "store"), Runtime(), built=done)
    assert isinstance(wanted.packed, tuple)
    return folder, model, [done[id(one)] for one in wanted.packed]


def test_every_line_leads_to_bytes_of_the_source_that_it_was_taken_from(place: tuple[Path, Built, list[Built]]) -> None:
    folder, model, packs = place
    journal = Journal.open(Store(folder / "store"))
    blend = open_packs(packs, MIXTURE)
    assert isinstance(blend, Blend)
    met = set()
    for step in range(1, STEPS + 1, 3):
        places = blend.places(seed=0, step=step - 1, size=BATCH)
        batch = blend.batch(seed=0, step=step - 1, size=BATCH, fim=FIM(0.7, 0.5))
        for where, ids, sequence in zip(places, batch, sequences_of(journal, model, step), strict=True):
            name = ("project", "fixed")[where.pack]
            met.add(name)
            assert {span.repository for span in sequence.spans} == {f"folder:{name}"}
            led_back = b""
            for span in sequence.spans:
                fields = {"path": span.path.encode(), "repository": f"folder:{name}".encode()}
                stored = fields.get(span.field) or (folder / name / span.path).read_bytes()
                led_back += stored[span.start : span.end]
            trained = blend.vocabulary.bytes_of(ids)
            assert sorted(led_back + b"\n" * (len(trained) - len(led_back))) == sorted(trained)
    assert met == {"project", "fixed"}


def test_tokens_of_each_pack_lead_to_the_steps_that_saw_them(place: tuple[Path, Built, list[Built]]) -> None:
    _, model, packs = place
    blend = open_packs(packs, MIXTURE)
    for number, pack in enumerate(packs):
        count = len(Dataset(pack).tokens)
        for start, end in ((0, 1), (100, 140), (48, 49), (count - 200, count)):
            samples = range(max(0, start - 1) // 48, (end - 1) // 48 + 1)
            saw = [
                step + 1
                for step in range(STEPS)
                if any(
                    one.pack == number and one.sample in samples for one in blend.places(seed=0, step=step, size=BATCH)
                )
            ]
            assert steps_that_saw(pack, model, start, end) == saw


def test_the_held_out_text_of_every_pack_is_scored(place: tuple[Path, Built, list[Built]]) -> None:
    _, model, packs = place
    held_out = sum(len(Dataset(one, "heldout").tokens) for one in packs)
    row = json.loads((model.directory / ".units" / "model.json").read_text())["facts"]["heldout"]
    assert row["tokens"] == held_out - 1


def test_the_command_follows_a_step_of_a_blend(
    place: tuple[Path, Built, list[Built]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, model, _ = place
    assert dispatch(["follow", "--run", str(model.directory), "--step", "2"]) == 0
    said = capsys.readouterr().out
    assert "folder:fixed:" in said or "folder:project:" in said


def test_weights_that_do_not_fit_the_packs_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    pack = small.journey(small.source(tmp_path)).step("pack")
    with pytest.raises(ConfigError, match="2 weights"):
        train.Pretrain(pack, mixture=(1.0, 2.0))
    with pytest.raises(ConfigError, match="holds no packs"):
        train.Pretrain(())
