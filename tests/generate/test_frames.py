from __future__ import annotations

import re
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted import says, vocabulary
from tokenizers import Tokenizer

from starloom.generate import frames
from starloom.generate.prompts import Prompts
from starloom.generate.protocol import Header, Hole, Prompt, Settings
from starloom.tokens.special import FAMILIES

families = st.sampled_from(["santacoder", "starcoder", "starcoder2"])
PRE, MID, SUF = "<fim_prefix>", "<fim_middle>", "<fim_suffix>"


@cache
def published(family: str) -> Tokenizer:
    """The exported tokenizer, which parses sentinels as the published ones do."""
    return Tokenizer.from_str(vocabulary(family).files()["tokenizer.json"].decode())


@cache
def grammar(family: str) -> re.Pattern[str]:
    """The grammar once more, as one regular expression."""
    spelled = dict(FAMILIES[family].controls)
    pre, mid, suf = (re.escape(spelled[f"fim_{name}"]) for name in ("prefix", "middle", "suffix"))
    anything = "|".join(map(re.escape, spelled.values()))
    text, line = rf"(?:(?!{anything})[\s\S])*", rf"(?:(?!{anything})[^\n])"
    controls = [re.escape(spelled[name]) for name in frames.HEADER[family]]
    kinds = [
        [control for control, there in zip(controls, bits, strict=True) if there]
        for bits in ([(b >> i) & 1 for i in range(len(controls))] for b in range(1, 1 << len(controls)))
    ]

    def header(last: str) -> str:
        rows = [f"{line}+".join(kind) + last for kind in kinds]
        return "(?:" + "|".join(rows) + ")" if rows else "(?!)"

    outside, within = header(rf"{line}*\n?"), header("")
    return re.compile(
        rf"{outside}?(?:{pre}{text}{suf}{text}{mid}|{pre}{suf}{text}{mid}{text})"
        rf"|{pre}{within}{text}{suf}{text}{mid}|{pre}{suf}{text}{mid}{within}{text}"
    )


@st.composite
def almost_frames(draw: st.DrawFn) -> tuple[str, str]:
    """Texts with a family's sentinels in them, most of them nearly in the order of a frame."""
    family = draw(families)
    spelled = dict(FAMILIES[family].controls)
    fim = [f"fim_{name}" for name in draw(st.sampled_from(["prefix suffix middle", "prefix middle suffix"])).split()]
    header = [name for name in frames.HEADER[family] if draw(st.booleans())]
    order = draw(st.sampled_from([[*header, *fim], [fim[0], *header, *fim[1:]], [*fim, *header], fim]))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(order)))
        order = draw(
            st.sampled_from(
                [
                    order[:place] + order[place + 1 :],
                    [*order[:place], draw(st.sampled_from(sorted(spelled))), *order[place:]],
                ]
            )
        )
    texts = (
        st.text("ab \n<>é", max_size=4) | st.just("") | st.sampled_from(["<fim", PRE, "<fim-prefix>", "a/b", "a.py\n"])
    )
    return family, draw(texts | st.just("")) + "".join(spelled[name] + draw(texts | st.just("")) for name in order)


@given(almost_frames())
@settings(deadline=None, max_examples=400)
@example(("starcoder2", "<repo_name>a/b<file_sep>a.py\n<fim_prefix>x<fim_suffix>y<fim_middle>"))
@example(("starcoder2", "<fim_prefix><file_sep>a.py\nx<fim_suffix>y<fim_middle>"))
@example(("starcoder", "<fim_prefix><reponame>r<filename>f<gh_stars>0\nx<fim_suffix>y<fim_middle>"))
@example(("starcoder", "<fim_prefix><fim_suffix>y<fim_middle><filename>f\nx"))
def test_exactly_the_grammar_is_a_frame_and_anything_else_has_no_control_id(case: tuple[str, str]) -> None:
    family, raw = case
    words = vocabulary(family)
    session, backend = says("x", family)
    session.complete(raw, raw=True)
    if grammar(family).fullmatch(raw):
        assert backend.last_prompt == published(family).encode(raw).ids
        assert frames.ask(Prompt(raw), words, strict_text=True) == Prompt(raw)
    else:
        assert frames.parse(raw, words) is None
        assert not words.control_mask[backend.last_prompt].any() or backend.last_prompt == [words.end_of_document]
        assert words.decode(backend.last_prompt) == raw
    session.complete(raw)
    assert backend.last_prompt == (words.encode(raw) or [words.end_of_document])


@given(families, st.text("ab \n<é", max_size=9), st.text("ab \n>é", max_size=9), st.booleans())
@settings(deadline=None)
def test_a_frame_is_its_fields(family: str, prefix: str, suffix: str, spm: bool) -> None:
    words = vocabulary(family)
    pre, mid, suf = (words.spelling(words.control(f"fim_{name}")) for name in ("prefix", "middle", "suffix"))
    raw = f"{pre}{suf}{suffix}{mid}{prefix}" if spm else f"{pre}{prefix}{suf}{suffix}{mid}"
    found = frames.parse(raw, words)
    assert found == Hole(prefix, suffix, mode="spm" if spm and prefix else "psm")


def test_a_header_stands_before_the_frame_or_within_its_prefix() -> None:
    words = vocabulary("starcoder2")
    fields = (("repository", "a/b"), ("file_separator", "c.py\n"))
    assert frames.parse(f"<repo_name>a/b<file_sep>c.py\n{PRE}x{SUF}y{MID}", words) == Hole(
        "x", "y", header=Header(fields)
    )
    within = Hole("x", "y", header=Header(fields, within=True))
    assert frames.parse(f"{PRE}<repo_name>a/b<file_sep>c.py\nx{SUF}y{MID}", words) == within
    assert frames.parse(f"<repo_name>a{PRE}<file_sep>b\nx{SUF}y{MID}", words) is None


@pytest.mark.parametrize(
    "raw",
    [
        f"{PRE}a{SUF}b{MID}c",  # the middle is not last
        f"{PRE}a{SUF}b{SUF}c{MID}",  # two suffixes
        f"{PRE}a{SUF}b{MID}" * 2,
        f" {PRE}a{SUF}b{MID}",  # the prefix is not first
        f"{SUF}b{PRE}a{MID}",
        f"{PRE}a{SUF}b<|endoftext|>{MID}",
        f"{PRE}a{MID}",
        "<fim-prefix>a<fim-suffix>b<fim-middle>",  # SantaCoder's spelling
        f"<repo_name>{PRE}a{SUF}b{MID}<fim_pad>",
        f"<repo_name>r\n\n{PRE}a{SUF}b{MID}",
        f"<file_sep>f<repo_name>r{PRE}a{SUF}b{MID}",
        "",
        "def f():",
    ],
)
def test_what_is_not_exactly_one_frame_is_text(raw: str) -> None:
    session, backend = says("x")
    session.complete(raw, raw=True)
    assert backend.last_prompt == (vocabulary().encode(raw) or [vocabulary().end_of_document])


def test_a_raw_frame_is_infilled() -> None:
    suffix = "\n    return total\n"
    session, _ = says("total = 1" + suffix)
    completion = session.complete(f"{PRE}def f():\n    {SUF}{suffix}{MID}", raw=True)
    assert (completion.text, completion.stopped_by) == ("total = 1", "suffix")


@given(st.integers(40, 200), st.integers(1, 60), st.booleans(), st.integers(0, 300), st.integers(0, 300))
@settings(deadline=None)
def test_a_long_frame_keeps_its_header_or_leaves_it_out_and_always_fits(
    context: int, max_tokens: int, within: bool, before: int, after: int
) -> None:
    words = vocabulary()
    header = Header((("repository", "a/b"), ("file_separator", "code.py\n")), within)
    hole = Hole("é1" * before, "2é" * after, Settings(max_tokens=max_tokens), header=header)
    ids, cut, _ = Prompts(words, context, "m").ids(hole)
    assert len(ids) <= max(context - max_tokens, context // 2)
    assert cut == (words.control("repository") not in ids)
    if not cut:
        text = f"{PRE}<repo_name>a/b<file_sep>code.py\n" if within else f"<repo_name>a/b<file_sep>code.py\n{PRE}"
        assert ids == published("starcoder2").encode(f"{text}{hole.prefix}{SUF}{hole.suffix}{MID}").ids
