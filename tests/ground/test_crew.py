"""Processes of one launch: the first builds, the others wait, and none waits for what will never come."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import pytest

from starloom import crew as crews
from starloom.crew import Crew, Launch
from starloom.errors import ConfigError, StarloomError
from starloom.stage import Runtime, Stage, Work, build
from starloom.store import Store

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "29500"}


def crew_of(store, rank, ranks=2):
    (store.root / ".locks").mkdir(parents=True, exist_ok=True)
    return Crew(Launch(rank, ranks, ranks, "test"), store.root / ".locks")


@dataclass(frozen=True, slots=True)
class Alone(Stage):
    def produce(self, work: Work) -> None:
        with work.unit("part") as unit:
            unit.path("part").write_bytes(b"made once")


@dataclass(frozen=True, slots=True)
class Together(Stage):
    collective: ClassVar[bool] = True
    before: Stage = Alone()
    met: ClassVar[threading.Barrier] = threading.Barrier(2, timeout=20)
    made: ClassVar[list[bool]] = []

    def produce(self, work: Work) -> None:
        self.met.wait()  # every process came
        self.made.append(work.runtime.first)
        if work.runtime.first:
            with work.unit("part") as unit:
                unit.path("part").write_bytes(work.input("before").read_bytes("part"))


def test_all_processes_produce_a_collective_stage_and_one_the_others(tmp_path):
    store = Store(tmp_path)
    Together.made.clear()

    def process(rank):
        with crew_of(store, rank) as crew:
            return build(Together(), store, Runtime(crew=crew))

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(process, (1, 0))
    assert one == other and one.verify() == [] and sorted(Together.made) == [False, True]
    Together.met.reset()
    assert process(0) == process(1) == one and len(Together.made) == 2  # done before: nobody waits for anybody


def test_a_process_that_waits_sees_that_the_first_ended(tmp_path):
    store = Store(tmp_path)
    other = crew_of(store, 1)
    with ThreadPoolExecutor(1) as pool, crew_of(store, 0):
        waiting = pool.submit(other.joins, tmp_path / "step-0" / "manifest.json", "f")
        while not other._seen:
            assert not waiting.done()
    with pytest.raises(StarloomError, match=r"process 0 ended.*before .*step-0 was complete"):
        waiting.result(20)


def test_a_process_that_waits_for_one_that_never_starts_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(crews, "START_WITHIN_S", 0.1)
    with pytest.raises(StarloomError, match="did not start within"):
        crew_of(Store(tmp_path), 1).joins(tmp_path / "step-0" / "manifest.json", None)


def test_what_an_earlier_launch_of_that_name_called_out_is_not_believed(tmp_path):
    store = Store(tmp_path)
    with crew_of(store, 0) as first:
        first.invite("f")
        assert crew_of(store, 1).joins(tmp_path / "none", "f")
    assert crew_of(store, 1)._look() == ([], True)
    with crew_of(store, 0):
        assert crew_of(store, 1)._look() == ([], True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RANK": "2"}, "RANK is 2 of a WORLD_SIZE of 2"),
        ({"RANK": "one"}, "numbers"),
        ({"MASTER_PORT": None}, "MASTER_PORT"),
    ],
)
def test_half_of_torchruns_environment_is_refused(changes, said):
    environment = {key: value for key, value in {**TORCHRUN, **changes}.items() if value is not None}
    with pytest.raises(ConfigError, match=said):
        Launch.of(environment)


def test_a_launch_is_named_by_what_its_processes_share():
    other = Launch.of({**TORCHRUN, "RANK": "0"})
    assert other.name == Launch.of(TORCHRUN).name != Launch.of({**TORCHRUN, "MASTER_PORT": "29501"}).name
    assert Launch.of({}) == Launch.of({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) == Launch()
