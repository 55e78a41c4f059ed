"""The recipe `corpus` on a planted set: everything goes for its own reason, and what is clean is left alone."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from corpus.planted import plant
from starloom.cluster import Local
from starloom.problems import load
from starloom.recipes.corpus import corpus
from starloom.stage import Runtime, build
from starloom.store import Built, Store

MIT = """MIT License

Copyright (c) 2020 The authors

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice and
this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
SHINGLES = 300  # 5-grams of a planted text


def words(name: str, first: int = 0, last: int = SHINGLES + 4) -> list[str]:
    return [f"{name}_word{number}" for number in range(first, last)]


def as_code(tokens: list[str]) -> str:
    """A Python file whose sequence of word tokens is `tokens`."""
    lines = [" + ".join(tokens[at : at + 3]) for at in range(0, len(tokens), 3)]
    return "(\n" + " +\n".join(f"    {line}" for line in lines) + "\n)\n"


def tail(name: str, changed: int) -> str:
    """A text whose last words are others: `changed` of its 5-grams differ, Jaccard (n - k) / (n + k)."""
    return as_code(words(name)[: SHINGLES + 4 - changed] + words(f"{name}_other", 0, changed))


def head(name: str, changed: int) -> str:
    return as_code(words(f"{name}_first", 0, changed) + words(name)[changed:])


def both(name: str, changed: int) -> str:
    """As `tail` and `head` at once."""
    middle = words(name)[changed : SHINGLES + 4 - changed]
    return as_code(words(f"{name}_first", 0, changed) + middle + words(f"{name}_other", 0, changed))


def renamed(code: str) -> str:
    """The program with other names for its functions, parameters and variables, built-ins left alone."""
    tree = ast.parse(code)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names = {name: f"renamed_{number}" for number, name in enumerate(sorted(own))}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.name = names[node.name]
            if isinstance(node.body[0], ast.Expr) and len(node.body) > 1:
                node.body = node.body[1:]  # without its docstring
        elif isinstance(node, ast.arg):
            node.arg = names[node.arg]
        elif isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.unparse(tree) + "\n"


@cache
def solutions() -> dict[str, str]:
    """HumanEval's longer solutions under other names."""
    long = [one for one in load("humaneval") if len(one.solutions[0]) > 350][:6]
    return {one.id: renamed(one.programs()[0]) for one in long}


KEY = "".join(("gh", "p_", "Zk3vQ9xL2mB7nR5tY8wC1dF6", "gH4jK0pS2aE9"))  # never whole in a repository
SECRETS = f'''"""Sends the report."""
AUTHOR = "Rosalind Quux <rosalind.quux@mail.quuxworks.io>"
SERVER = "81.23.196.14"
token = "{KEY}"


def send(report):
    return post(SERVER, report, auth=token, cc="rosalind.quux@mail.quuxworks.io")
'''
CLEAN = {
    f"clean/module_{number}.py": (
        f'"""Part {number} of a clean project: version 1.2.{number}."""\n\n\nclass Shelf{number}:\n'
        f"    def place{number}(self, book, height={number}):\n        self.books{number}.append((book, height))\n"
        f"        return len(self.books{number})\n"
    )
    for number in range(8)
}


def row(repository: str, path: str, content: str, stars: int = 1, license_: str = "MIT") -> dict[str, Any]:
    return {
        "content": content,
        "max_stars_repo_name": repository,
        "max_stars_repo_path": path,
        "max_stars_repo_licenses": [license_],
        "max_stars_count": stars,
    }


def planted() -> Iterator[dict[str, Any]]:
    for path, text in CLEAN.items():
        yield row("alice/clean", path, text)
    yield row("bob/gone", "a.py", as_code(words("gone_a")))
    yield row("bob/stays", "a.py", as_code(words("stays_a")))
    yield row("Carol/one", "a.py", as_code(words("carol_one")))
    yield row("carol/two", "a.py", as_code(words("carol_two")))
    for number, text in enumerate(solutions().values()):
        yield row("erin/homework", f"answer_{number}.py", f"import math\n\n{text}\n\nprint('{number}')\n")
    yield row("frank/mailer", "send.py", SECRETS)
    yield row("grace/near", "original.py", as_code(words("near")), stars=9)
    yield row("grace/near", "j074.py", tail("near", 45))  # 255 / 345 = 0.739
    yield row("grace/far", "original.py", as_code(words("far")), stars=9)
    yield row("grace/far", "j067.py", tail("far", 60))  # 240 / 360 = 0.667
    yield row("heidi/bridge", "bridge.py", as_code(words("bridge")), stars=1000)  # the best-ranked of its three
    yield row("ivan/one", "one.py", tail("bridge", 45), stars=5)
    yield row("ivan/two", "two.py", head("bridge", 45), stars=5)
    yield row("judy/best", "best.py", as_code(words("best")), stars=1000)
    yield row("judy/second", "second.py", tail("best", 20), stars=50)
    yield row("judy/third", "third.py", tail("best", 19), stars=5)
    yield row("kim/copyleft", "a.py", as_code(words("copyleft")), license_="GPL-3.0-only")
    yield row("kim/short", "a.py", "import a\n")
    yield row("kim/short", "b.py", "import b\n")


REQUESTS = [
    {"request": "1", "date": "2026-01-05", "repositories": ["BOB/Gone"]},
    {"request": "2", "date": "2026-01-06", "accounts": ["CAROL"]},
    {"request": "3", "date": "2026-02-07", "repositories": ["heidi/bridge", "judy/best"]},
]
TREE = {
    "LICENSE": MIT.encode(),
    "lib/own.py": as_code(words("own")).encode(),
    "lib/borrowed.py": f"# SPDX-License-Identifier: GPL-3.0-or-later\n{as_code(words('borrowed'))}".encode(),
    "vendor/gpl/COPYING": b"GNU GENERAL PUBLIC LICENSE\n Version 2, June 1991\n",
    "vendor/gpl/tool.py": as_code(words("tool")).encode(),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    folder = tmp_path_factory.mktemp("planted")
    plant(folder / "tree", TREE)
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps(one) + "\n" for one in planted())
    (folder / "requests.jsonl").write_text("".join(json.dumps(one) + "\n" for one in REQUESTS))
    (folder / "sources.txt").write_text("stack:rows.jsonl\nfolder:tree\n")
    journey = corpus(
        str(folder / "sources.txt"),
        rules="santacoder",
        opt_out=str(folder / "requests.jsonl"),
        vocab_size=400,
        context=64,
        heldout=0.0,
    )
    pool = Local(1)
    known: dict[int, Built] = {}
    for goal in journey.goals:
        build(goal, Store(folder / "store"), Runtime(workers=1, cluster=pool), built=known)
    return {name: known[id(stage)] for name, stage in journey.steps().items()}


@pytest.fixture(scope="module")
def outcomes(made: Mapping[str, Built]) -> dict[str, str | None]:
    """`repository/path` → why it was dropped."""
    found = {}
    for part in made["read"].parts():
        places = made["read"].table(part, ["repository", "path"]).to_pylist()
        reasons = made["mix"].table(f"outcome-{part}", ["reason"])["reason"].to_pylist()
        for place, reason in zip(places, reasons, strict=True):
            name = place["repository"].removeprefix("github.com/").removeprefix("folder:")
            found[f"{name}/{place['path'].decode()}"] = reason
    return found


def test_what_is_clean_is_left_alone(outcomes: Mapping[str, str | None], made: Mapping[str, Built]) -> None:
    assert {outcomes[f"alice/clean/{path}"] for path in CLEAN} == {None}
    texts = {part["text"] for row in made["mix"].tables(["parts"]) for one in row.to_pylist() for part in one["parts"]}
    assert set(CLEAN.values()) <= texts, "not a byte of them changed"


def test_who_opted_out_is_gone_and_nobody_else(outcomes: Mapping[str, str | None], made: Mapping[str, Built]) -> None:
    gone = {"bob/gone/a.py", "carol/one/a.py", "carol/two/a.py", "heidi/bridge/bridge.py", "judy/best/best.py"}
    assert {place for place, reason in outcomes.items() if reason == "opted_out"} == gone
    assert outcomes["bob/stays/a.py"] is None
    receipt = json.loads(made["opt_out"].read_bytes("receipt.json"))
    assert [(one["request"], one["rows"]) for one in receipt["requests"]] == [("1", 1), ("2", 2), ("3", 2)]


def test_a_license_that_is_not_permissive_reaches_its_file_or_its_folder_alone(
    outcomes: Mapping[str, str | None],
) -> None:
    wrong = {place for place, reason in outcomes.items() if reason == "license_not_permissive"}
    assert wrong == {"kim/copyleft/a.py", "tree/lib/borrowed.py", "tree/vendor/gpl/tool.py"}
    assert outcomes["tree/lib/own.py"] is None


def test_solutions_of_a_benchmark_are_found_under_other_names(
    outcomes: Mapping[str, str | None], made: Mapping[str, Built]
) -> None:
    places = [f"erin/homework/answer_{number}.py" for number in range(len(solutions()))]
    assert {outcomes[place] for place in places} == {"benchmark_ngrams"}
    assert {place for place, reason in outcomes.items() if (reason or "").startswith("benchmark")} == set(places)
    named = {
        (one["path"].decode(), one["problem"])
        for part in made["read"].parts()
        for one in made["decontaminate"].table(f"matches-{part}").to_pylist()
    }
    assert named >= {(f"answer_{number}.py", problem) for number, problem in enumerate(solutions())}


def test_near_duplicates_go_above_the_threshold_and_stay_below(outcomes: Mapping[str, str | None]) -> None:
    assert outcomes["grace/near/original.py"] is None
    assert outcomes["grace/near/j074.py"] == "near_duplicate"
    assert outcomes["grace/far/original.py"] is outcomes["grace/far/j067.py"] is None
    assert outcomes["kim/short/a.py"] is outcomes["kim/short/b.py"] is None, "short files are not alike"


def test_an_opted_out_bridge_joins_nobody_and_an_opted_out_survivor_is_replaced(
    outcomes: Mapping[str, str | None],
) -> None:
    assert outcomes["ivan/one/one.py"] is outcomes["ivan/two/two.py"] is None, "alike only through the bridge"
    assert outcomes["judy/second/second.py"] is None, "the next in rank takes the place"
    assert outcomes["judy/third/third.py"] == "near_duplicate"


def test_personal_data_is_replaced_and_the_rest_of_its_file_kept(
    outcomes: Mapping[str, str | None], made: Mapping[str, Built]
) -> None:
    assert outcomes["frank/mailer/send.py"] is None
    everything = b"".join(path.read_bytes() for path in made["pack"].directory.rglob("*") if path.is_file())
    rows = [one for table in made["mix"].tables() for one in table.to_pylist()]
    text = "".join(part["text"] for one in rows for part in one["parts"])
    for secret in ("rosalind.quux", "81.23.196.14", KEY):
        assert secret not in text and secret.encode() not in everything
    mailer = next(one for one in rows if any("Sends the report" in part["text"] for part in one["parts"]))
    assert [part["control"] for part in mailer["parts"]].count("redacted_email") == 2
    assert [part["control"] for part in mailer["parts"]].count("redacted_key") == 1
    page = (made["report"].directory / "report.html").read_text()
    assert not any(secret in page for secret in ("rosalind.quux", "81.23.196.14", KEY))


def test_everything_that_was_read_has_an_outcome(outcomes: Mapping[str, str | None], made: Mapping[str, Built]) -> None:
    counts = made["mix"].counts
    assert len(outcomes) == made["read"].counts["rows_out"] == counts["rows_out"] + sum(counts["dropped"].values())
