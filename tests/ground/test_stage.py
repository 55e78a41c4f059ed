"""Fingerprints, resume, one driver, faults: what every station stands on."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ground.example_stages import Counter, Joined, Lines, Named
from starloom.cluster import Local
from starloom.errors import BusyError, ConfigError, DamagedError, DiskFullError, SourceError, StarloomError, StoreError
from starloom.flags import Assignment
from starloom.journey import Journey
from starloom.stage import Identities, Runtime, Stage, build
from starloom.store import MANIFEST, Built, Store, disk_errors, reopen


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("alpha\nbeta\ngamma\n")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def fingerprint(stage: Stage) -> str:
    return Identities().of(stage).fingerprint


def in_a_process(code: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = (
        "from ground.example_stages import *\nfrom starloom.stage import *\nfrom starloom.store import *\n"
        "from starloom.cluster import Local\n" + textwrap.dedent(code)
    )
    paths = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )


def content(directory: Path) -> dict[str, bytes]:
    return {
        p.relative_to(directory).as_posix(): p.read_bytes()
        for p in directory.rglob("*")
        if p.is_file() and p.name != MANIFEST
    }


def test_building_again_touches_nothing(source: Path, store: Store) -> None:
    first = build(Joined(Lines(str(source))), store, Runtime())
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()}
    second = build(Joined(Lines(str(source))), store, Runtime())
    assert first == second
    assert {p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()} == before


def test_a_changed_setting_rebuilds_only_what_lies_downstream(source: Path, store: Store) -> None:
    journey = Journey(Joined(Lines(str(source))))
    build(journey.goals[0], store, Runtime())
    build(journey.with_settings([Assignment.parse("joined.glue=-")]).goals[0], store, Runtime())
    assert sorted(p.name.rpartition("-")[0] for p in store.directories()) == ["joined", "joined", "lines"]
    build(journey.with_settings([Assignment.parse("lines.repeat=1")]).goals[0], store, Runtime())
    assert sorted(p.name.rpartition("-")[0] for p in store.directories()) == ["joined"] * 3 + ["lines"] * 2


def test_a_changed_file_outside_is_a_new_fingerprint_and_a_moved_one_is_not(source: Path, tmp_path: Path) -> None:
    before = fingerprint(Lines(str(source)))
    moved = source.rename(tmp_path / "elsewhere.txt")
    assert fingerprint(Lines(str(moved))) == before
    moved.write_text("alpha\nbeta\n")
    assert fingerprint(Lines(str(moved))) != before


def test_execution_and_labels_are_no_part_of_a_fingerprint(source: Path, store: Store, tmp_path: Path) -> None:
    plain = Joined(Lines(str(source)))
    assert fingerprint(plain) == fingerprint(Joined(Lines(str(source)), label="other"))
    one = build(plain, store, Runtime(workers=1))
    pool = Local(2)
    other = build(Joined(Lines(str(source)), label="other"), Store(tmp_path / "b"), Runtime(workers=2, cluster=pool))
    pool.close()
    assert {n: e["sha256"] for n, e in one.manifest["files"].items()} == {
        n: e["sha256"] for n, e in other.manifest["files"].items()
    }
    again = build(Joined(Lines(str(source)), label="other"), store, Runtime())
    assert again.directory == one.directory


def test_every_content_field_and_the_version_enter_the_fingerprint(source: Path) -> None:
    base = Joined(Lines(str(source)))
    raised = dataclasses.make_dataclass(
        "Joined", [], bases=(Joined,), frozen=True, namespace={"version": 2, "__module__": Joined.__module__}
    )
    changed = [
        dataclasses.replace(base, glue="x"),
        dataclasses.replace(base, limit=1.0),
        dataclasses.replace(base, limit=2.0),
        dataclasses.replace(base, rules=()),
        dataclasses.replace(base, rules=(Named("long", 11), Named("short", 2))),
        dataclasses.replace(base, others=(Lines(str(source)),)),
        raised(Lines(str(source))),
    ]
    prints = [fingerprint(base), *map(fingerprint, changed)]
    assert len(set(prints)) == len(prints)


def test_a_killed_build_goes_on_and_ends_where_an_unkilled_one_ends(tmp_path: Path) -> None:
    killed = in_a_process("build(Counter(die_at=4), Store(Path('killed')), Runtime())", tmp_path)
    assert killed.returncode == -9
    resumed = build(Counter(), Store(tmp_path / "killed"), Runtime())
    straight = build(Counter(), Store(tmp_path / "straight"), Runtime())
    assert resumed.read_bytes("value.txt") == straight.read_bytes("value.txt")
    assert resumed.manifest["resolved"]["made_by"] != os.getpid() == straight.manifest["resolved"]["made_by"]
    assert set(resumed.manifest["files"]) == {"value.txt", "resolved.json"}
    assert not (resumed.directory / "checkpoints").exists()


def test_a_killed_map_keeps_its_finished_shards(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("alpha\nbeta\nKILL\nomega\n")
    killed = in_a_process("build(Lines('s.txt'), Store(Path('store')), Runtime())", tmp_path)
    assert killed.returncode == -9
    [directory] = Store(tmp_path / "store").directories()
    kept = (directory / "alpha.txt").stat().st_mtime_ns
    done = in_a_process("print(build(Lines('s.txt'), Store(Path('store')), Runtime()).counts)", tmp_path, SPARE="1")
    assert done.returncode == 0, done.stderr
    assert "'rows_out': 4" in done.stdout
    assert (directory / "alpha.txt").stat().st_mtime_ns == kept
    assert Built.open(directory).verify() == []


def test_a_killed_worker_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("alpha\nKILL\n")
    code = "pool = Local(2)\nif __name__ == '__main__':\n    build(Lines('s.txt'), Store(Path('store')), Runtime(workers=2, cluster=pool))"
    (tmp_path / "main.py").write_text(
        "from ground.example_stages import *\nfrom starloom.stage import *\n"
        "from starloom.store import *\nfrom starloom.cluster import Local\n" + code
    )
    paths = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    result = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert "a worker process was killed" in result.stderr


def test_two_drivers_of_one_directory_are_told_apart(tmp_path: Path, store: Store) -> None:
    store.prepare()
    directory = store.directory("counter", fingerprint(Counter()))
    with store.lock(directory), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        build(Counter(), store, Runtime())
    assert build(Counter(), store, Runtime()).verify() == []


def test_every_flipped_bit_is_found(source: Path, store: Store) -> None:
    built = build(Joined(Lines(str(source))), store, Runtime())
    chance = random.Random(0)
    targets = [p for p in built.directory.rglob("*") if p.is_file()]
    for _ in range(200):
        path = chance.choice(targets)
        data = bytearray(path.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        sound = path.read_bytes()
        path.write_bytes(data)
        try:
            problems = Built.open(built.directory).verify()
        except DamagedError as error:
            problems = [str(error)]
        path.write_bytes(sound)
        assert problems, path
    assert Built.open(built.directory).verify() == []


def test_reading_a_damaged_file_whole_is_refused(source: Path, store: Store) -> None:
    lines = build(Lines(str(source)), store, Runtime())
    path = lines.directory / "beta.txt"
    path.write_text("bETabetabeta")
    with pytest.raises(DamagedError, match=r"beta\.txt differs"):
        build(Joined(Lines(str(source))), store, Runtime())
    path.unlink()
    with pytest.raises(DamagedError, match=r"beta\.txt is missing"):
        Built.open(lines.directory)


def test_a_reopened_directory_makes_anew_only_what_is_damaged(source: Path, store: Store) -> None:
    lines = build(Lines(str(source)), store, Runtime())
    before = content(lines.directory)
    kept = (lines.directory / "alpha.txt").stat().st_mtime_ns
    (lines.directory / "beta.txt").write_text("bETabetabeta")
    reopen(lines.directory)
    again = build(Lines(str(source)), store, Runtime())
    assert content(again.directory) == before
    assert (lines.directory / "alpha.txt").stat().st_mtime_ns == kept


def test_a_directory_without_a_manifest_is_not_complete(source: Path, store: Store) -> None:
    built = build(Lines(str(source)), store, Runtime())
    (built.directory / MANIFEST).unlink()
    with pytest.raises(StoreError, match="never finished"):
        Built.open(built.directory)


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare (util-linux) to mount a small disk")
def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "s.txt").write_text("alpha\nbeta\n" + "x" * 3_000_000 + "\n")
    paths = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    code = (
        "from ground.example_stages import *\nfrom starloom.stage import *\nfrom starloom.store import *\nimport sys\n"
        "store = Store(Path('small/store'))\n"
        "try: build(Lines('s.txt', repeat=1), store, Runtime())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "[d] = store.directories()\nprint(sorted(p.name for p in d.iterdir()), (d / 'manifest.json').exists())\n"
    )
    (tmp_path / "main.py").write_text(code)
    command = f"mount -t tmpfs -o size=1m tmpfs small && {sys.executable} main.py"
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=60,
    )
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(f"this kernel refuses a private mount: {result.stderr.strip()}")
    assert result.stdout.startswith("DiskFullError the disk is full while writing"), result.stdout + result.stderr
    assert "alpha.txt" in result.stdout and "beta.txt" in result.stdout and result.stdout.endswith("False\n")


@pytest.mark.parametrize(
    "error", [OSError(errno.EFBIG, "File too large"), RuntimeError("File too large (os error 27)")]
)
def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(DiskFullError, match=r"a file is larger than .* raise the limit \(ulimit -f\)"),
        disk_errors(tmp_path),
    ):
        raise error


def test_a_settings_name_that_is_not_is_answered_with_the_nearest(source: Path) -> None:
    journey = Journey(Joined(Lines(str(source))))
    for text, message in [
        ("lines.repaet=2", r"unknown setting 'repaet' of lines; did you mean 'repeat'"),
        ("lnes.repeat=2", r"no step 'lnes'; did you mean 'lines'"),
        ("lines.repeat=many", r"lines.repeat takes a whole number, not 'many'"),
        ("joined.lines=2", r"upstream step"),
        ("joined.limit=nan", r"joined.limit takes a number, or none, not 'nan'"),
        ("joined.lnog.longest=2", r"did you mean 'long'"),
        ("lines.repeat", r"--set takes STEP.KEY=VALUE"),
    ]:
        with pytest.raises(ConfigError, match=message):
            journey.with_settings([Assignment.parse(text)])


def test_settings_reach_named_elements(source: Path) -> None:
    journey = Journey(Joined(Lines(str(source)))).with_settings([Assignment.parse("joined.short.longest=7")])
    [joined] = journey.goals
    assert isinstance(joined, Joined) and joined.rules == (Named("long"), Named("short", 7))


def test_a_shared_stage_stays_shared_when_it_is_changed(source: Path) -> None:
    lines = Lines(str(source))
    journey = Journey(Joined(lines, others=(lines,))).with_settings([Assignment.parse("lines.repeat=5")])
    [joined] = journey.goals
    assert isinstance(joined, Joined) and joined.lines is joined.others[0] and joined.lines.repeat == 5  # type: ignore[attr-defined]


def test_two_different_steps_of_one_name_need_labels(source: Path) -> None:
    with pytest.raises(ConfigError, match="give one a label"):
        Journey(Joined(Lines(str(source)), others=(Lines(str(source), repeat=9),))).steps()
    steps = Journey(Joined(Lines(str(source)), others=(Lines(str(source), repeat=9, label="nine"),))).steps()
    assert list(steps) == ["lines", "lines:nine", "joined"]


def test_errors_survive_the_way_from_a_worker() -> None:
    import pickle

    from starloom import errors

    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, StarloomError):
            error = kind("torch", "train") if name == "MissingExtraError" else kind("what")
            assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_manifest_says_how_and_from_what(source: Path, store: Store) -> None:
    manifest = json.loads((build(Joined(Lines(str(source))), store, Runtime()).directory / MANIFEST).read_text())
    wanted = {
        "stage",
        "version",
        "settings",
        "inputs",
        "runtime",
        "resolved",
        "counts",
        "files",
        "purged",
        "code",
        "seconds",
        "peak_memory_bytes",
    }
    assert wanted <= set(manifest)
    assert manifest["inputs"] == {"lines": fingerprint(Lines(str(source)))}


def test_what_is_wrong_outside_is_said_before_anything_is_built(tmp_path: Path) -> None:
    from starloom.corpus import OptOut, Read

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("x = 1\n")
    store = Store(tmp_path / "store")
    with pytest.raises(SourceError, match=r"missing\.jsonl"):
        build(OptOut(Read(f"folder:{tmp_path / 'code'}"), str(tmp_path / "missing.jsonl")), store, Runtime())
    assert not list(store.directories())
