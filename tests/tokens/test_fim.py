"""Fill-in-the-middle: reversible, equal to the published algorithm, and a function of where it is applied."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_mix import PROSE, texts, vocabulary

from starloom.errors import ConfigError, TokenizerError
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.fim import FIM, INSERTED, FimSample, apply, chance, place

WORDS = vocabulary()
EOD = WORDS.end_of_document
PRE, MID, SUF, PAD = (WORDS.control(f"fim_{name}") for name in ("prefix", "middle", "suffix", "pad"))
ALWAYS_PSM, ALWAYS_SPM = FIM(1, 0), FIM(1, 1)
always = st.sampled_from([ALWAYS_PSM, ALWAYS_SPM, FIM(1, 0.5)])
seeds = st.integers(0, 2**32)


@st.composite
def samples(draw: st.DrawFn) -> list[int]:
    """Documents with controls inside, cut anywhere between tokens at both ends: characters may be cut in two."""
    ids: list[int] = []
    for _ in range(draw(st.integers(1, 3))):
        for control in draw(
            st.lists(st.sampled_from(["", "repository", "file_name", "stars"]), min_size=1, max_size=3)
        ):
            ids += [WORDS.control(control)] if control else []
            ids += WORDS.encode(draw(texts))
        ids.append(EOD)
    begin = draw(st.integers(0, len(ids)))
    return ids[begin : draw(st.integers(begin, len(ids)))]


def with_room(ids: list[int]) -> list[int]:
    """The sample with empty documents behind it, so that nothing is cut off its end."""
    return [*ids, *[EOD] * (2 * sum(map(int, WORDS.byte_lengths[ids])) + 40)]


def run(ids: list[int], fim: FIM, seed: int = 0) -> FimSample:
    return apply(ids, WORDS, fim, seed=seed, epoch=0, sample=0)


def fragments(ids: list[int]) -> list[list[int]]:
    """What lies between the ends of documents."""
    found: list[list[int]] = [[]]
    for token in ids:
        if token == EOD:
            found.append([])
        else:
            found[-1].append(token)
    return found


def rebuilt(fragment: list[int]) -> list[int]:
    """Prefix, middle, suffix of a permuted fragment in the order of the document, in either form."""
    if PRE not in fragment:
        return fragment
    assert fragment[0] == PRE
    assert Counter(token for token in fragment if token in (PRE, SUF, MID)) == {PRE: 1, SUF: 1, MID: 1}
    suffix, middle = fragment.index(SUF), fragment.index(MID)
    return fragment[1:suffix] + fragment[middle + 1 :] + fragment[suffix + 1 : middle]


def content(ids: list[int]) -> list[int | bytes]:
    """Controls as ids, and the bytes between them: what FIM must keep."""
    found: list[int | bytes] = [b""]
    for token in ids:
        if WORDS.is_control(token):
            found += [token, b""]
        else:
            found[-1] += WORDS.bytes_of([token])  # type: ignore[operator]
    return found


@settings(max_examples=120)
@given(ids=samples(), fim=always, seed=seeds)
def test_fim_is_reversible(ids: list[int], fim: FIM, seed: int) -> None:
    before = with_room(ids)
    after = run(before, fim, seed).ids.tolist()
    pairs = list(zip(fragments(before), fragments(after), strict=False))[: len(fragments(ids))]
    assert [content(rebuilt(new)) for _, new in pairs] == [content(old) for old, _ in pairs]


def published(document: str, cuts: tuple[int, int], spm: bool, words: Vocabulary = WORDS) -> list[int]:
    """The published permutation of a whole document without controls: decode, cut, encode three times."""
    low, high = sorted(place(word, len(document) + 1) for word in cuts)
    prefix, middle, suffix = (words.encode(piece) for piece in (document[:low], document[low:high], document[high:]))
    pre, mid, suf = (words.control(f"fim_{name}") for name in ("prefix", "middle", "suffix"))
    if spm:
        return [pre, suf, *suffix, mid, *prefix, *middle]
    return [pre, *prefix, suf, *suffix, mid, *middle]


@settings(max_examples=120)
@given(documents=st.lists(texts, min_size=1, max_size=4), fim=st.builds(FIM, st.just(0.5), st.just(0.5)), seed=seeds)
def test_ids_equal_those_of_the_published_algorithm_on_the_same_cuts(documents: list[str], fim: FIM, seed: int) -> None:
    before = [token for document in documents for token in [*WORDS.encode(document), EOD]]
    expected: list[int] = []
    for number, document in enumerate(documents):
        drawn = chance(fim, seed=seed, epoch=3, sample=7, fragment=number)
        ids = WORDS.encode(document)
        expected += [*(published(document, drawn.cuts, drawn.spm) if ids and drawn.permuted else ids), EOD]
    expected = (expected + [PAD] * len(before))[: len(before)]
    assert apply(before, WORDS, fim, seed=seed, epoch=3, sample=7).ids.tolist() == expected


@settings(max_examples=120)
@given(ids=samples(), fim=always, seed=seeds)
def test_each_span_holds_exactly_the_bytes_of_its_token(ids: list[int], fim: FIM, seed: int) -> None:
    after = run(ids, fim, seed)
    data = WORDS.bytes_of(ids)
    offsets = np.cumsum([0, *WORDS.byte_lengths[ids]])
    for token, start, end, origin in zip(*(column.tolist() for column in (after.ids, *after.spans)), strict=True):
        assert data[start:end] == WORDS.bytes_of([token])
        if origin == INSERTED:
            assert token in (PRE, MID, SUF, PAD)
        elif WORDS.is_control(token):
            assert ids[origin] == token
        else:
            assert offsets[origin] <= start < offsets[origin + 1]


@settings(max_examples=50)
@given(ids=samples(), fim=always, seed=seeds)
def test_a_sample_keeps_its_length_and_ends_in_pads_where_it_got_shorter(ids: list[int], fim: FIM, seed: int) -> None:
    after = run(ids, fim, seed).ids.tolist()
    assert len(after) == len(ids)
    pads = after.count(PAD)
    assert after[len(after) - pads :] == [PAD] * pads


@settings(max_examples=30)
@given(ids=samples(), seed=seeds)
def test_rate_zero_is_the_identity(ids: list[int], seed: int) -> None:
    after = run(ids, FIM(0, 0.5), seed)
    assert after.ids.tolist() == ids
    assert after.spans.origins.tolist() == list(range(len(ids)))


def test_half_characters_at_both_edges_stay_whole_tokens_at_the_outside() -> None:
    crab = len(WORDS.encode("🦀"))
    ids = WORDS.encode("🦀日本ab語🦀")
    assert crab > 1
    for front in range(1, crab):
        for back in range(1, crab):
            cut = ids[crab - front : len(ids) - crab + back]
            for seed in range(20):
                first = fragments(run(with_room(cut), ALWAYS_PSM, seed).ids.tolist())[0]
                assert first[1 : 1 + front] == cut[:front]
                assert first[: first.index(MID)][-back:] == cut[-back:]


def test_a_document_of_half_a_character_or_of_controls_alone_is_left() -> None:
    half = WORDS.encode("🦀")[:2]
    controls = [WORDS.control("repository"), WORDS.control("stars")]
    ids = [*half, EOD, *controls, EOD, EOD]
    for seed in range(20):
        assert run(ids, ALWAYS_PSM, seed).ids.tolist() == ids


def test_controls_inside_a_document_move_but_are_never_text() -> None:
    ids = [
        WORDS.control("repository"),
        *WORDS.encode("a/b"),
        WORDS.control("file_name"),
        *WORDS.encode("c.py\nx = 1\n"),
    ]
    seen = set()
    for seed in range(200):
        after = run(with_room(ids), ALWAYS_PSM, seed).ids.tolist()
        first = fragments(after)[0]
        assert first.count(WORDS.control("repository")) == first.count(WORDS.control("file_name")) == 1
        assert b"<" not in WORDS.bytes_of(first)
        seen.add(first.index(WORDS.control("repository")) < first.index(SUF))
    assert seen == {True, False}  # a cut may fall before a control too


def test_sentinels_typed_in_a_document_stay_text_through_fim() -> None:
    text = "x = '<fim_prefix><fim_suffix><fim_middle><|endoftext|>'\n"
    for seed in range(50):
        first = fragments(run(with_room(WORDS.encode(text)), ALWAYS_SPM, seed).ids.tolist())[0]
        assert WORDS.bytes_of(rebuilt(first)) == text.encode()


def test_a_batch_does_not_depend_on_what_was_asked_before() -> None:
    ids = [token for text in PROSE for token in [*WORDS.encode(text), EOD]]
    places = [(epoch, sample) for epoch in range(2) for sample in range(10)]
    forward = {
        where: apply(ids, WORDS, FIM(), seed=1, epoch=where[0], sample=where[1]).ids.tolist() for where in places
    }
    for where in reversed(places):
        assert apply(ids, WORDS, FIM(), seed=1, epoch=where[0], sample=where[1]).ids.tolist() == forward[where]
    assert len({tuple(ids) for ids in forward.values()}) > 15


def test_every_place_draws_for_itself_and_at_the_published_rates() -> None:
    drawn = [
        chance(FIM(0.5, 0.25), seed=seed, epoch=epoch, sample=sample, fragment=fragment)
        for seed in range(5)
        for epoch in range(4)
        for sample in range(20)
        for fragment in range(10)
    ]
    assert len({one.cuts for one in drawn}) == len(drawn) == 4000
    # Four standard deviations of a share of 4,000 draws: .032 and .027.
    assert abs(np.mean([one.permuted for one in drawn]) - 0.5) < 0.032
    assert abs(np.mean([one.spm for one in drawn]) - 0.25) < 0.028
    counts = Counter(place(word, 11) for one in drawn for word in one.cuts)
    assert sorted(counts) == list(range(11))
    assert all(abs(count - 8000 / 11) < 4 * (8000 / 11) ** 0.5 for count in counts.values())


SEPARATED = vocabulary("starcoder2")


@settings(max_examples=60)
@given(
    repositories=st.lists(st.lists(texts, min_size=1, max_size=4), min_size=1, max_size=3),
    fim=st.builds(FIM, st.just(0.6), st.just(0.5), st.sampled_from([0.5, 1.0])),
    seed=seeds,
)
def test_files_of_a_document_are_permuted_one_by_one_as_published(
    repositories: list[list[str]], fim: FIM, seed: int
) -> None:
    words, separator = SEPARATED, SEPARATED.control("file_separator")
    before: list[int] = []
    expected: list[int] = []
    for number, files in enumerate(repositories):
        where = {"seed": seed, "epoch": 1, "sample": 2, "fragment": number}
        document = chance(fim, **where)
        for file, text in enumerate(files):
            drawn = document if len(files) == 1 else chance(fim, **where, file=file)
            ids = words.encode(text)
            cut = ids and document.permuted and drawn.permuted
            expected += published(text, drawn.cuts, drawn.spm, words) if cut else ids
            before += ids
            for each in (before, expected):
                each.append(separator if file + 1 < len(files) else words.end_of_document)
    room = [words.end_of_document] * (3 * sum(map(len, repositories)))
    after = apply([*before, *room], words, fim, seed=seed, epoch=1, sample=2).ids.tolist()
    assert after == (expected + room)[: len(after)]


def test_documents_without_files_are_permuted_as_if_there_were_no_fragment_rate() -> None:
    ids = [token for text in PROSE for token in [*SEPARATED.encode(text), SEPARATED.end_of_document]]
    for sample in range(50):
        plain, by_file = (
            apply(ids, SEPARATED, FIM(0.5, 0.5, rate), seed=0, epoch=0, sample=sample).ids.tolist()
            for rate in (None, 0.1)
        )
        assert plain == by_file


def test_files_draw_at_the_fragment_rate_in_documents_that_drew_at_the_other() -> None:
    fim = FIM(0.5, 0.5, 0.25)
    separator, prefix = SEPARATED.control("file_separator"), SEPARATED.control("fim_prefix")
    ids = [token for _ in range(8) for token in [*SEPARATED.encode("x = 1\n"), separator]]
    shares = []
    for sample in range(600):
        fitted = apply([*ids, *[0] * 60], SEPARATED, fim, seed=0, epoch=0, sample=sample)
        assert fitted.fit.permuted == fitted.ids.tolist().count(prefix)
        shares.append(fitted.fit.permuted / 8)
    chosen = [share for share in shares if share > 0]
    # A chosen document has none of its files permuted with a chance of .75^8 = .1. Four standard deviations each.
    assert abs(len(chosen) / len(shares) - 0.5 * 0.9) < 0.082
    assert abs(np.mean(shares) - 0.5 * 0.25) < 0.024


def test_a_vocabulary_without_a_separator_of_files_is_told() -> None:
    with pytest.raises(TokenizerError, match=r"fim.fragment_rate is .*file_separator.* set it to none"):
        run(WORDS.encode("x = 1\n"), FIM(1, 0.5, 0.5))


@settings(max_examples=60)
@given(documents=st.lists(texts.filter(bool), min_size=1, max_size=4), seed=seeds)
def test_what_a_sample_loses_is_counted(documents: list[str], seed: int) -> None:
    ids = [token for document in documents for token in [*WORDS.encode(document), EOD]]
    room = with_room(ids)
    at = shortened = gone = 0
    whole = fragments(apply(room, WORDS, ALWAYS_PSM, seed=seed, epoch=0, sample=0).ids.tolist())[: len(documents)]
    for fragment in whole:
        middle = len(fragment) - 1 - fragment.index(MID)
        at += len(fragment)
        shortened += at > len(ids) and middle > 0
        gone += at - middle >= len(ids) and middle > 0
        at += 1  # the end of the document
    found = apply(ids, WORDS, ALWAYS_PSM, seed=seed, epoch=0, sample=0)
    assert found.fit == (len(documents), shortened, gone, max(0, at - len(ids)), max(0, len(ids) - at))
    assert found.fit.pads == found.ids.tolist().count(PAD)


@pytest.mark.parametrize("name", ["rate", "spm", "fragment_rate"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"fim.{name} is"):
        FIM(**{name: value})
