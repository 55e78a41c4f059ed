"""Near-duplicates: shingles as published, every similar pair found, no other, however the stage is executed."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.planted import made, plant, plant_git, rows, whole
from starloom.corpus import NearDedup, Read, near_dedup
from starloom.corpus.components import Forest
from starloom.corpus.minhash import band_keys, bands_for, candidates, chance_to_meet, signature
from starloom.corpus.near_dedup import PRESETS, Method, below_one, near_duplicates
from starloom.corpus.shingles import Unit, jaccard, shingles_of
from starloom.errors import ConfigError

SMALL = Method(Unit(ngram=2, min_tokens=2, min_words=2), 256, 0.7)
WORDS = [f"w{number}" for number in range(40)]


def plain(text: str, unit: Unit) -> set[str] | None:
    """A text's shingles as the published scripts make them: a regular expression, a set of joined strings."""
    pieces = re.split("[^A-Za-z_0-9]" if unit.alphabet == "ascii" else r"\W", text.lower() if unit.lower else text)
    filled = [piece for piece in pieces if piece]
    pieces = pieces if unit.keep_empty else filled
    if len(pieces) < unit.min_tokens or len(filled) < unit.min_words:
        return None
    if len(pieces) < unit.ngram:
        return {" ".join(pieces)}
    return {" ".join(pieces[start : start + unit.ngram]) for start in range(len(pieces) - unit.ngram + 1)}


def plain_jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


UNITS = [*{method.unit for method in PRESETS.values()}, Unit(ngram=3, min_tokens=1, min_words=1)]
CODE = st.text(st.sampled_from("ab_1 .(\nÄßİ中é\u0301ǅ٣\U0001d7d9 "), max_size=60)


@given(st.lists(CODE, min_size=1, max_size=5), st.sampled_from(UNITS))
def test_shingles_are_those_of_the_published_regular_expressions(texts: list[str], unit: Unit) -> None:
    ours, theirs = list(shingles_of(texts, unit)), [plain(text, unit) for text in texts]
    for mine, known in zip(ours, theirs, strict=True):
        assert (mine is None) == (known is None)
        assert mine is None or known is None or len(mine) == len(known)
    for (a, one), (b, other) in itertools.combinations(zip(ours, theirs, strict=True), 2):
        if a is not None and b is not None and one is not None and other is not None:
            assert jaccard(a, b) == plain_jaccard(one, other)


@given(st.lists(CODE, min_size=2, max_size=6))
def test_shingles_do_not_depend_on_the_documents_around(texts: list[str]) -> None:
    unit = PRESETS["the-stack-v2"].unit
    for text, together in zip(texts, shingles_of(texts, unit), strict=True):
        (alone,) = shingles_of([text], unit)
        assert (alone is None and together is None) or np.array_equal(alone, together)  # type: ignore[arg-type]


def test_shingles_are_the_same_in_every_process() -> None:
    (found,) = shingles_of(["def f(x): return x + 1"], PRESETS["starcoder"].unit)
    assert found is not None
    assert int(found[0]) == 3200422802228971545
    assert signature(found, 4).tolist() == [387400142, 355148506, 4202602, 149695301]


def corpus(seed: int, count: int = 40) -> list[str]:
    """Documents of which many are copies of others with some words changed."""
    draw = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        if texts and draw.random() < 0.7:
            words = draw.choice(texts).split()
            for _ in range(draw.randrange(6)):
                if words:
                    words[draw.randrange(len(words))] = draw.choice(WORDS)
        else:
            words = draw.choices(WORDS, k=draw.randrange(60))
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("seed", range(12))
def test_exactly_the_pairs_at_or_above_the_threshold_are_found_on_small_corpora(seed: int) -> None:
    texts = corpus(seed)
    sets = [plain(text, SMALL.unit) for text in texts]
    first = {frozenset(one): place for place, one in reversed(list(enumerate(sets))) if one is not None}
    known = {
        (one, other): plain_jaccard(a, b)
        for (one, a), (other, b) in itertools.combinations(enumerate(sets), 2)
        if a is not None and b is not None and plain_jaccard(a, b) >= SMALL.threshold
    }
    found = near_duplicates(texts, SMALL, bands=128)
    different = {(one, other): similarity for one, other, similarity in found if similarity < 1}
    assert different == {
        pair: similarity
        for pair, similarity in known.items()
        if similarity < 1 and all(first[frozenset(sets[place] or ())] == place for place in pair)
    }
    equal = [(one, other) for one, other, similarity in found if similarity == 1]
    assert all(sets[one] == sets[other] for one, other in equal)
    assert len(equal) == sum(one is not None for one in sets) - len(first)


def test_the_chosen_bands_find_what_they_promise_where_the_published_ones_find_half() -> None:
    for method in PRESETS.values():
        bands = bands_for(method.threshold, method.permutations)
        assert chance_to_meet(method.threshold, bands, method.permutations // bands) >= 0.99
    assert chance_to_meet(0.7, 25, 10) == pytest.approx(0.51, abs=0.01)
    assert bands_for(0.7, 256) == 42


def test_signatures_agree_as_often_as_the_sets_are_similar() -> None:
    draw = np.random.default_rng(0)
    numbers = draw.integers(0, 2**63, 1500).astype(np.uint64)
    one, other = signature(numbers[:1000], 4096), signature(numbers[500:], 4096)
    assert (one == other).mean() == pytest.approx(1 / 3, abs=0.03)  # four deviations


def test_presets_are_what_was_published() -> None:
    told = {
        name: (
            *(one.unit.ngram, one.unit.alphabet, one.unit.lower, one.unit.keep_empty, one.unit.min_tokens),
            *(one.permutations, one.threshold),
        )
        for name, one in PRESETS.items()
    }
    assert told == {
        "santacoder": (1, "ascii", False, False, 10, 256, 0.85),
        "dedup-alt": (5, "ascii", False, True, 10, 256, 0.7),
        "starcoder": (5, "ascii", False, True, 5, 256, 0.7),
        "the-stack-v2": (5, "unicode", True, True, 5, 250, 0.7),
        "selfcodealign": (5, "unicode", True, True, 5, 250, 0.7),
        "selfcodealign-seeds": (5, "unicode", True, True, 5, 250, 0.5),
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_short_documents_never_collapse_into_one_another(preset: near_dedup.Preset) -> None:
    short = [
        "",
        "\n",
        "x = 1",
        "y = 2",
        "import os",
        "{" * 50,
        "[" * 50,
        "   \n" * 20,
        "*/" * 40,
        "a\n\n\n\n\n\n\n\n",
        None,
    ]
    assert near_duplicates(short, PRESETS[preset]) == []


def letters(*ranges: tuple[int, int]) -> str:
    return " ".join(f"w{number}" for start, end in ranges for number in range(start, end))


def test_a_chain_is_one_group_although_its_ends_are_no_pair(tmp_path: Path) -> None:
    files = {
        "a.py": letters((0, 100)).encode(),
        "b.py": letters((12, 112)).encode(),
        "c.py": letters((24, 124)).encode(),
        "d.py": letters((500, 600)).encode(),
    }
    built = made(NearDedup(Read(f"folder:{plant(tmp_path / 'code', files)}")), tmp_path / "store")
    assert [row["group"] for row in rows(built)] == [0, 0, 0, 1]
    ids = [row["id"] for row in rows(built)]
    edges = built.table("edges.parquet").to_pylist()
    assert [(row["a"], row["b"]) for row in edges] == [(ids[0], ids[1]), (ids[1], ids[2])]
    assert [row["jaccard"] for row in edges] == pytest.approx([84 / 108] * 2)


def test_many_equal_files_make_no_pairs_to_verify(tmp_path: Path) -> None:
    files = {f"{number:04}.py": letters((0, 30)).encode() + b" " for number in range(500)}
    built = made(NearDedup(Read(f"folder:{plant(tmp_path / 'code', files)}")), tmp_path / "store")
    assert built.counts["candidates"] == 0
    assert built.counts["edges"] == 499 and built.counts["groups"] == 1


def test_many_similar_files_are_joined_by_a_few_pairs_each() -> None:
    keys = [np.zeros(3000, np.uint64), np.zeros(3000, np.uint64)]
    codes, large = candidates(keys, 3000, largest=500, reach=8)
    one, other = np.divmod(codes, np.uint64(3000))
    assert large == 2 and len(codes) <= 2 * sum(3000 - distance for distance in range(1, 9))
    partners = np.bincount(np.concatenate([one, other]).astype(np.int64), minlength=3000)
    assert partners.min() >= 8 and partners.max() <= 2 * 16, "each with the 8 before and behind it, in two orders"


@given(st.lists(st.lists(st.integers(0, 1), min_size=7, max_size=7), min_size=2, max_size=6), st.integers(1, 7))
def test_two_documents_share_a_band_when_all_of_its_rows_are_equal(signatures: list[list[int]], bands: int) -> None:
    keys = band_keys(np.array(signatures, np.uint32), bands)
    rows = 7 // bands
    for one, other in itertools.combinations(range(len(signatures)), 2):
        for band in range(bands):
            here = slice(band * rows, (band + 1) * rows)
            same = signatures[one][here] == signatures[other][here]
            assert (keys[band, one] == keys[band, other]) == same


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_candidates_are_the_pairs_that_share_a_band(first: list[int], second: list[int]) -> None:
    size = min(len(first), len(second))
    keys = [np.array(band[:size], np.uint64) for band in (first, second)]
    codes, _ = candidates(keys, size, largest=500, reach=8)
    found = {divmod(code, size) for code in codes.tolist()}
    assert found == {
        (a, b) for a, b in itertools.combinations(range(size), 2) if first[a] == first[b] or second[a] == second[b]
    }


def test_only_equal_sets_have_similarity_one() -> None:
    assert below_one(1 - 1e-12) < 1
    assert below_one(1.0) == 1


@pytest.fixture
def code(tmp_path: Path) -> Read:
    draw = random.Random(1)
    texts = [" ".join(text) for text in ([draw.choice(WORDS) for _ in range(80)] for _ in range(12))]
    texts += [text.replace("w1 ", "v1 ", 1) for text in texts[:8]] + texts[:3] + ["", "x"]
    plant(tmp_path / "code", {f"f{place:03}.py": text.encode() for place, text in enumerate(texts)})
    return Read(f"folder:{tmp_path / 'code'}", shard_bytes=3000)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".parquet"}


def test_files_are_the_same_bytes_for_any_number_of_workers(code: Read, tmp_path: Path) -> None:
    one, two = (made(NearDedup(code), tmp_path / str(workers), workers) for workers in (1, 2))
    assert contents(one.directory) == contents(two.directory)
    assert len(one.parts()) > 2 and one.counts["edges"] >= 8
    assert not [name for name in one.manifest["files"] if "sketch" in name or "verify" in name or "candidates" in name]


def test_shards_change_no_edge(code: Read, tmp_path: Path) -> None:
    several = made(NearDedup(code), tmp_path / "several")
    single = made(NearDedup(Read(code.source)), tmp_path / "single")
    assert several.table("edges.parquet").equals(single.table("edges.parquet"))
    assert whole(several).to_pylist() == whole(single).to_pylist()


@pytest.mark.parametrize("where", ["_verify_pairs", "_write_groups", "_find_candidates"])
def test_a_killed_build_goes_on_without_sketching_again(
    code: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(near_dedup, where, killed)
        with pytest.raises(KeyboardInterrupt):
            made(NearDedup(code), tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(near_dedup, "write_sketches", killed)
        resumed = made(NearDedup(code), tmp_path / "store")
    assert contents(resumed.directory) == contents(made(NearDedup(code), tmp_path / "fresh").directory)


def test_a_fingerprint_covers_what_a_preset_means(code: Read) -> None:
    before = NearDedup(code).settings()
    assert before["threshold"] == 0.7 and before["bands"] == 42 and before["ngram"] == 5
    assert NearDedup(code, threshold=0.8).settings()["threshold"] == 0.8
    assert NearDedup(code, threshold=0.8).method().unit == PRESETS["starcoder"].unit
    assert NearDedup(code, "santacoder").settings()["ngram"] == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"preset": "santcoder"}, "did you mean 'santacoder'"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"ngram": 0}, "ngram"),
        ({"bands": 300}, "256 permutations"),
        ({"alphabet": "latin"}, "ascii or unicode"),
    ],
)
def test_a_setting_that_cannot_be_is_named(code: Read, wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        NearDedup(code, **wrong)  # type: ignore[arg-type]


@settings(max_examples=30)
@given(st.integers(1, 2000), st.integers(1, 300))
def test_blocks_of_shingles_change_no_signature(size: int, count: int) -> None:
    shingles = np.arange(size, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    parts = [signature(part, count) for part in np.array_split(shingles, min(size, 7))]
    assert np.array_equal(signature(shingles, count), np.minimum.reduce(parts))


def test_similar_files_stay_joined_whichever_third_of_them_is_gone() -> None:
    """1,200 files in one bucket of each band, in three blocks as three repositories are; the block in the middle goes."""
    size = 1200
    bands = [np.zeros(size, np.uint64) for _ in range(4)]
    codes, large = candidates(bands, size, near_dedup.LARGEST_BUCKET, near_dedup.REACH)
    assert large == 4 and len(codes) <= 4 * size * near_dedup.REACH
    forest = Forest(size)
    for one, other in zip(*(side.tolist() for side in np.divmod(codes, np.uint64(size))), strict=True):
        assert one < other
        if not {one // 400, other // 400} & {1}:
            forest.join(one, other)
    left = [*range(400), *range(800, size)]
    assert len({forest.find(row) for row in left}) == 1


def test_a_commit_is_no_copy_of_its_file(tmp_path: Path) -> None:
    text = b"".join(b"value_%d = compute(%d, offset)\n" % (number, number) for number in range(40))
    plant_git(tmp_path / "code", {b"a.py": text}, {b"a.py": text.replace(b"value_7 ", b"other ")})
    (tmp_path / "list.txt").write_text("git:code\ncommits:code\n")
    files = Read(f"list:{tmp_path / 'list.txt'}")
    built = made(NearDedup(files), tmp_path / "store")
    assert built.counts["edges"] == 0 and built.counts["rows_in"] == 3
