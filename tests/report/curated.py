"""A small corpus with something for every kind of drop, by the real steps: what reports are checked against."""

from __future__ import annotations

from pathlib import Path

from starloom import corpus, problems, tokens
from starloom.stage import Runtime, Stage, build
from starloom.store import Built, Store

ADDRESS = "nobody.inparticular@company-mail.com"
LINES = [f"    total_{n} = width * {n} + height - offset_{n % 7}  # step {n} of the area" for n in range(40)]


def source(folder: Path) -> Path:
    """Python, C and HTML: twelve small files, copies, near copies, noise, what is no text, and what opted out."""
    project = folder / "project"
    for n in range(12):
        (project / f"package{n % 4}").mkdir(parents=True, exist_ok=True)
        (project / f"package{n % 4}" / f"area{n}.py").write_text(f"def area_{n}(width):\n    return width * {n}\n")
    long = ["def volume(width, height):", *LINES, f'AUTHOR = "{ADDRESS}"', ""]
    for n in range(3):  # each with one line of its own: nearly alike
        own = [*long[:20], f"    marker_{n} = 'variant {n}'", *long[20:]]
        (project / f"near{n}.py").write_text("\n".join(own))
    for n in range(4):
        (project / f"copy{n}.py").write_text("def area_1(width):\n    return width * 1\n")
        (project / f"noise{n}.py").write_text("#" + "-" * 60 + "\n")
        (project / f"data{n}.json").write_text('{"name": "value ' + "abcdefgh"[n] * 9 + '"}\n')
        (project / f"loop{n}.c").write_text(f"int loop_{n}(int n) {{\n  return n * {n};\n}}\n")
    problem = problems.load("humaneval")[3]
    (project / "solved.py").write_text(problem.programs()[0])
    (project / "binary.py").write_bytes(b"\x00\xff\xfe" * 50)
    (project / "page.html").write_text("<p>not wanted</p>\n")
    return project


def journey(folder: Path) -> tuple[Stage, ...]:
    """Every kind of step that says something about a file, in the order of a recipe."""
    requests = folder / "requests.jsonl"
    requests.write_text('{"request": "r-1", "date": "2026-02-03", "repositories": ["an-org/gone"]}\n')
    files = corpus.Read(str(source(folder)), shard_bytes=4000)
    language, license_ = corpus.Language(files), corpus.License(files)
    opt_out = corpus.OptOut(files, str(requests))
    chosen = corpus.quickstart_rules(("Python", "C", "JSON"), "any")
    rules = corpus.Rules(files, language, license_, rules=chosen)
    leaks = corpus.Decontaminate(files, ("humaneval",))
    pii = corpus.FindPII(files)
    exact, near = corpus.ExactDedup(files), corpus.NearDedup(files)
    mix = corpus.Mix(
        files,
        (language, license_),
        (opt_out, rules, leaks, pii),
        (exact, near),
        heldout=0.3,
        redact=pii,
        weights=("language:JSON=0",),
        validation=("language:Python", "language:JSON"),
    )
    vocabulary = tokens.TrainBPE(mix, vocab_size=400)
    census = tokens.Census(files, vocabulary)
    packed = tokens.Pack(mix, vocabulary, context=64)
    return (files, language, license_, opt_out, rules, leaks, pii, exact, near, mix, vocabulary, census, packed)


def built(folder: Path) -> dict[str, Built]:
    """Step name → directory."""
    stages, known = journey(folder), dict[int, Built]()
    for one in stages:
        build(one, Store(folder / "store"), Runtime(), built=known)
    return {one.step: known[id(one)] for one in stages}
