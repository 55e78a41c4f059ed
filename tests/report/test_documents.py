"""What the report says became of the documents is what the mix decided, for the real steps of the corpus."""

from __future__ import annotations

import pytest

from starloom import corpus
from starloom.report.documents import Corpus, corpora
from starloom.report.examples import EXAMPLES, EXCERPT, example
from starloom.report.facts import Steps, kind_of
from starloom.stage import Runtime, build
from starloom.store import Built, Store

FUNCTION = "def area_{n}(width, height):\n    return width * height * {n}\n"


@pytest.fixture(scope="module")
def builts(tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    """Read, Language, License, Rules, ExactDedup and Mix of a folder with something for every reason."""
    folder = tmp_path_factory.mktemp("source") / "project"
    for n in range(12):
        (folder / f"package{n % 4}").mkdir(parents=True, exist_ok=True)
        (folder / f"package{n % 4}" / f"area{n}.py").write_text(FUNCTION.format(n=n))
    for n in range(4):
        (folder / f"copy{n}.py").write_text(FUNCTION.format(n=1))
        (folder / f"noise{n}.py").write_text("#" + "-" * 60 + "\n")
    (folder / "long.py").write_text("x = [" + "1234, " * 400 + "]\n")
    (folder / "binary.py").write_bytes(b"\x00\x01" * 50)
    (folder / "latin.py").write_bytes("naïve = 1\n".encode("latin-1"))
    (folder / "page.html").write_text("<p>not Python</p>\n")
    files = corpus.Read(str(folder), shard_bytes=400)
    language, license_ = corpus.Language(files), corpus.License(files)
    rules = corpus.Rules(files, language, license_, rules=corpus.quickstart_rules(("Python",), "any"))
    twins = corpus.ExactDedup(files)
    clean = corpus.Mix(files, (language, license_), (rules,), (twins,), layout="starcoder", heldout=0.3)
    known: dict[int, Built] = {}
    stages = (files, language, license_, rules, twins, clean)
    build(clean, Store(tmp_path_factory.mktemp("store")), Runtime(), built=known)
    return [known[id(one)] for one in stages]


@pytest.fixture(scope="module")
def told(builts: list[Built]) -> Corpus:
    (found,) = corpora(Steps(builts))
    return found


def test_directories_are_known_by_their_columns(builts: list[Built]) -> None:
    assert list(map(kind_of, builts)) == ["read", "attribute", "attribute", "verdict", "group", "mix"]


def test_every_reason_has_the_files_and_bytes_that_the_mix_counted(told: Corpus, builts: list[Built]) -> None:
    counts = builts[-1].counts
    assert len(counts["dropped"]) >= 5
    assert "exact_duplicate" in counts["dropped"]
    assert {reason: one.files for reason, one in told.dropped.items()} == counts["dropped"]
    assert {reason: one.size_bytes for reason, one in told.dropped.items()} == counts["dropped_bytes"]


def test_what_stays_is_what_the_mix_holds(told: Corpus, builts: list[Built]) -> None:
    counts = builts[-1].counts
    assert (told.all.files, told.all.kept_files) == (counts["rows_in"], counts["rows_out"])
    assert (told.all.size_bytes, told.all.kept_bytes) == (counts["bytes_in"], counts["bytes_out"])
    assert told.splits["heldout"].files == counts["heldout_rows"]
    assert len(told.held_out) == counts["heldout_groups"]
    assert len(told.held_out) + len(told.trained) == counts["groups"]


def test_every_table_adds_up_to_all_files(told: Corpus) -> None:
    assert set(told.tables) == {"language", "license", "repository"}
    for counted in told.tables.values():
        assert sum(one.files for one in counted.values()) == told.all.files
        assert sum(one.kept_bytes for one in counted.values()) == told.all.kept_bytes


def test_examples_are_documents_that_were_dropped_for_their_reason(told: Corpus) -> None:
    assert set(told.examples) == set(told.dropped)
    for reason, examples in told.examples.items():
        assert len(examples) == min(EXAMPLES, told.dropped[reason].files)
    assert {one.path for one in told.examples["few_alphanumeric"]} == {f"noise{n}.py".encode() for n in range(4)}
    assert [one.attributes for one in told.examples["language_not_selected"]] == [("HTML",)]


def test_copies_are_told_with_the_one_that_stays(told: Corpus) -> None:
    (found,) = told.duplicates
    assert (found.groups, found.files) == (2, 9)
    sizes = sorted(cluster.files for cluster in found.clusters)
    assert sizes == [4, 5]
    five = next(cluster for cluster in found.clusters if cluster.files == 5)
    assert [one.kept for one in five.members] == [True, False, False, False, False]


def test_rows_are_shown_as_they_are_rendered(told: Corpus) -> None:
    assert len(told.rendered) == 2
    for row in told.rendered:
        assert row[-1] == ("end_of_document", "")
        assert any("def area_" in text for _, text in row)


def test_the_order_of_the_shards_and_steps_changes_nothing(builts: list[Built], told: Corpus) -> None:
    (again,) = corpora(Steps([*builts[3:], *builts[:3]]))
    assert again == told


def test_files_that_nothing_was_mixed_from_are_told_as_read(builts: list[Built]) -> None:
    (read,) = corpora(Steps(builts[:3]))
    assert read.all.files == builts[0].counts["rows_out"]
    assert not read.splits
    assert not read.dropped


@pytest.mark.parametrize("start", [0, 50, 5000])
@pytest.mark.parametrize("length", [0, 1, 3000])
def test_an_excerpt_is_bounded_and_holds_the_beginning_of_its_place(start: int, length: int) -> None:
    text = "".join(f"zeile {n} – größe\n" for n in range(700))
    data = text.encode()
    start, end = (
        len(data[:place].decode(errors="ignore").encode()) for place in (start, start + length)
    )  # of characters
    span = {"field": "text", "start": start, "end": end, "reason": "why"}
    facts = {"repository": "r", "path": b"p", "size": len(data), "text": text, "unread": None}
    one = example(facts, "why", [{"reasons": ["why"], "spans": [span]}])
    shown = one.before + one.marked + one.after
    assert len(shown) <= EXCERPT + 2  # and an ellipsis on either side
    assert shown.strip("…") in text
    assert data[start:end].decode(errors="ignore").startswith(one.marked)
    assert bool(one.marked) == (end > start)


def test_a_span_of_another_reason_or_field_marks_nothing() -> None:
    facts = {"repository": "r", "path": b"p", "size": 9, "text": "some text", "unread": None}
    for other in ({"field": "path", "reason": "why"}, {"field": "text", "reason": "else"}):
        one = example(facts, "why", [{"reasons": ["why"], "spans": [{**other, "start": 0, "end": 4}]}])
        assert (one.before, one.marked, one.after) == ("", "", "some text")
