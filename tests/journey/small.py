"""A whole journey on a few files of real code, small enough for every test that needs one."""

from __future__ import annotations

import sysconfig
from dataclasses import replace
from pathlib import Path

from starloom import corpus, tokens, train
from starloom.cluster import Local
from starloom.journey import Journey
from starloom.models import presets
from starloom.stage import Runtime, build
from starloom.store import Built, Store
from starloom.tokens.fim import FIM
from starloom.train.budget import Steps
from starloom.train.settings import Heldout

TINY = replace(presets.QUICKSTART, n_layer=1, n_embd=32, n_head=2, n_inner=64, n_positions=64)
MODULES = ("json", "csv.py", "bisect.py", "heapq.py", "queue.py", "shlex.py", "keyword.py")


def source(folder: Path) -> Path:
    """A folder of real modules, with a hostile file and one that no rule keeps."""
    project = folder / "project"
    library = Path(sysconfig.get_paths()["stdlib"])
    for name in MODULES:
        paths = sorted((library / name).glob("*.py")) if (library / name).is_dir() else [library / name]
        for path in paths:
            target = project / path.relative_to(library)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (project / "copied").mkdir()
    (project / "copied" / "bisect.py").write_bytes((project / "bisect.py").read_bytes())
    (project / "sentinels.py").write_text(
        '"""<fim_prefix> <|endoftext|> <fim-suffix> <file_sep>"""\nnaïve = "日本語 🎄"\r\n\tx = 1\n' * 9
    )
    (project / "minified.py").write_text("x = 1;" * 900 + "\n")
    (project / "LICENSE").write_text(
        (library / "LICENSE.txt").read_text() if (library / "LICENSE.txt").exists() else "PSF"
    )
    return project


def journey(project: Path, *, steps: int = 4, context: int = 48, batch: int = 3) -> Journey:
    """The quickstart's first half at the smallest size."""
    files = corpus.Read(str(project), shard_bytes=30_000)
    language = corpus.Language(files)
    license_ = corpus.License(files)
    quality = corpus.Rules(files, language, license_, rules=corpus.quickstart_rules(("Python",), "any"))
    twins = corpus.ExactDedup(files)
    clean = corpus.Mix(
        files, (language, license_), (quality,), (twins,), layout="starcoder", metadata=0.5, heldout=0.2, seed=1
    )
    vocab = tokens.TrainBPE(clean, vocab_size=400)
    packed = tokens.Pack(clean, vocab, context=context)
    base = train.Pretrain(
        packed,
        model=TINY,
        fim=FIM(0.7, 0.5),
        budget=Steps(steps),
        batch=batch,
        precision="fp32",
        heldout=Heldout(times=1),
    )
    return Journey(base)


def built(wanted: Journey, where: Path, *, workers: int = 1) -> dict[str, Built]:
    """Step name → directory, all built."""
    pool = Local(workers)
    done: dict[int, Built] = {}
    for goal in wanted.goals:
        build(goal, Store(where), Runtime(workers=workers, cluster=pool), built=done)
    pool.close()
    return {name: done[id(stage)] for name, stage in wanted.steps().items()}


WORDS = ("read", "write", "parse", "merge", "split", "count", "order", "filter", "encode", "search", "trim", "pack")


def fixed_source(folder: Path) -> Path:
    """A folder of files that this function spells out, the same under every Python."""
    project = folder / "fixed"
    for number, verb in enumerate(WORDS):
        noun = WORDS[(number * 5 + 3) % len(WORDS)]
        lines = [f'"""{verb.title()} what {noun} gave."""', "", "import os", "", ""]
        for size in range(2 + number % 3):
            lines += [
                f"def {verb}_{noun}_{size}(items, limit={size * 7}):",
                f"    # keep at most {size} of the items that {noun} left",
                f"    found = [item.{verb}() for item in items if len(item) > {number + size}]",
                f"    return os.sep.join(found[:limit]) or '{noun * (size + 1)}'",
                "",
                "",
            ]
        target = project / ("deep" if number % 4 == 0 else f"part{number % 3}") / f"{verb}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines))
    (project / "twin.py").write_bytes((project / "part1" / "write.py").read_bytes())
    (project / "sentinels.py").write_text('x = "<fim_prefix> <|endoftext|> naïve 日本語"\r\n\ty = 1\n' * 5)
    (project / "minified.py").write_text("x = 1;" * 900 + "\n")
    (project / "noise.bin").write_bytes(bytes(range(256)))
    (project / "pyproject.toml").write_text('[project]\nname = "fixed"\nlicense = "MIT"\n')
    return project
