"""Every token of every step leads back to bytes of a file, and every file on to its tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from journey import small
from starloom.cli import dispatch
from starloom.errors import ConfigError, DamagedError, StoreError
from starloom.lineage.batch import sequences_of, steps_that_saw
from starloom.lineage.journal import Journal
from starloom.lineage.way import ways_of
from starloom.store import Built, Store
from starloom.tokens.dataset import Dataset
from starloom.tokens.fim import FIM

STEPS = 24  # more than one epoch


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Built]]:
    folder = tmp_path_factory.mktemp("lineage")
    project = small.source(folder)
    return project, small.built(small.journey(project, steps=STEPS), folder / "store")


def test_the_spans_of_every_step_are_the_bytes_of_its_batch(place: tuple[Path, dict[str, Built]]) -> None:
    project, built = place
    journal = Journal.open(Store(built["pretrain"].directory.parent))
    dataset = Dataset(built["pack"])
    for step in range(1, STEPS + 1, 7):
        batch = dataset.batch(seed=0, step=step - 1, size=3, fim=FIM(0.7, 0.5))
        for ids, sequence in zip(batch, sequences_of(journal, built["pretrain"], step), strict=True):
            led_back = b""
            for span in sequence.spans:
                stored = {
                    "text": (project / span.path).read_bytes(),
                    "path": span.path.encode(),
                    "repository": b"folder:project",
                }
                led_back += stored[span.field][span.start : span.end]
            trained = dataset.vocabulary.bytes_of(ids)
            lines = sequence.text.count("<filename>") + sequence.text.count("<reponame>")  # "\n" after them is inserted
            assert len(trained) - len(led_back) in range(lines + 2)
            assert sorted(led_back + b"\n" * (len(trained) - len(led_back))) == sorted(trained)
            assert sequence.tokens == len(ids)


def test_a_file_leads_to_the_steps_that_saw_it_and_they_lead_back(place: tuple[Path, dict[str, Built]]) -> None:
    _, built = place
    journal = Journal.open(Store(built["pretrain"].directory.parent))
    [way] = ways_of(journal, "folder:project:json/decoder.py")
    steps = way.stops[-1].data["steps"]
    saw = {
        step
        for step in range(1, STEPS + 1)
        for one in sequences_of(journal, built["pretrain"], step)
        for span in one.spans
        if span.path == "json/decoder.py"
    }
    assert saw <= set(steps)
    assert len(set(steps) - saw) <= len(steps) * 0.1  # FIM cuts off what no longer fits
    tokens = next(stop.data for stop in way.stops if "start" in stop.data)
    assert steps_that_saw(built["pack"], built["pretrain"], tokens["start"], tokens["end"]) == steps


def test_a_dropped_file_says_where_and_why(place: tuple[Path, dict[str, Built]]) -> None:
    _, built = place
    journal = Journal.open(Store(built["pretrain"].directory.parent))
    [minified] = ways_of(journal, "folder:project:minified.py")
    assert minified.stops[-1].text == "out: line_too_long"
    twins = [ways_of(journal, f"folder:project:{name}")[0] for name in ("bisect.py", "copied/bisect.py")]
    endings = sorted(any(stop.text == "out: exact_duplicate" for stop in way.stops) for way in twins)
    assert endings == [False, True]


def test_a_name_that_is_not_there_is_answered_with_what_is_near(place: tuple[Path, dict[str, Built]]) -> None:
    _, built = place
    journal = Journal.open(Store(built["pretrain"].directory.parent))
    with pytest.raises(StoreError, match=r"near: csv\.py"):
        ways_of(journal, "folder:project:cvs.py")
    with pytest.raises(StoreError, match="read: folder:project"):
        ways_of(journal, "folder:other:csv.py")
    with pytest.raises(ConfigError, match=f"trained for {STEPS} steps"):
        sequences_of(journal, built["pretrain"], STEPS + 1)


def test_the_command_prints_what_a_program_can_read(
    place: tuple[Path, dict[str, Built]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, built = place
    store = str(built["pretrain"].directory.parent)
    assert dispatch(["follow", "folder:project:csv.py", "--store", store, "--json"]) == 0
    [way] = json.loads(capsys.readouterr().out)["ways"]
    assert way["path"] == "csv.py" and way["stops"]
    assert dispatch(["follow", "--run", str(built["pretrain"].directory), "--step", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["sequences"]) == 3


def test_tokens_that_are_not_the_files_are_noticed(place: tuple[Path, dict[str, Built]], tmp_path: Path) -> None:
    import shutil

    _, built = place
    store = tmp_path / "store"
    shutil.copytree(built["pack"].directory.parent, store)
    pack = store / built["pack"].directory.name
    path = pack / "tokens-train.bin"
    data = bytearray(path.read_bytes())
    for position in range(64, len(data), 2):  # every token another one of the same length, or any other
        data[position] ^= 1
    path.write_bytes(data)
    journal = Journal.open(Store(store))
    with pytest.raises(DamagedError):
        for step in range(1, 4):
            sequences_of(journal, Built.open(store / built["pretrain"].directory.name), step)
