"""One raw fill-in-the-middle frame: the only text in which spelled sentinels are controls.

Editors' plug-ins and evaluation harnesses write the frame into the prompt themselves. A raw text that is exactly one
well-formed frame is taken apart into fields, and put together again from them:

    raw     =  header? ( psm | spm )
    psm     =  PREFIX header? text SUFFIX text MIDDLE
    spm     =  PREFIX SUFFIX text MIDDLE header? text
    header  =  REPOSITORY line ( FILE line ( STARS line )? )? …    any of a family's controls of a file, each at most once
                                                                   and in this order; one header at most in all

A `text` holds no spelling of any control, and the `line` of the last control of a header ends with a line break where it
stands before the frame. Whatever else a raw text may be, with two frames or none, is text and gets no control id at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starloom.generate.protocol import Header, Hole, Prompt
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.special import FAMILIES

# What a row of training text may begin with, in the order of the published layouts (`corpus/layouts.py`).
HEADER = {
    "santacoder": (),
    "starcoder": ("repository", "file_name", "stars"),
    "starcoder2": ("repository", "file_separator"),
}
_Piece = tuple[str, str]  # a control and the text behind it


def ask(prompt: Prompt, vocabulary: Vocabulary, *, strict_text: bool = False) -> Prompt | Hole:
    """What a raw prompt asks for: the gap of its frame if it is one, else the text itself; always the text if strict."""
    hole = None if strict_text else parse(prompt.text, vocabulary)
    if hole is None:
        return Prompt(prompt.text, prompt.settings, prompt.sample, prompt.id)
    return Hole(hole.prefix, hole.suffix, prompt.settings, hole.mode, prompt.sample, prompt.id, hole.header)


def parse(text: str, vocabulary: Vocabulary) -> Hole | None:
    """The fields of a text that is exactly one well-formed frame in this vocabulary's spelling; None for any other."""
    pieces = _pieces(text, vocabulary)
    if pieces is None:
        return None
    header, pieces = _header(pieces, vocabulary.family)
    match [control for control, _ in pieces]:
        case ["fim_prefix", *within, "fim_suffix", "fim_middle"] if pieces[-1][1] == "":
            around, suffix, mode = pieces[: 1 + len(within)], pieces[-2][1], "psm"
        case ["fim_prefix", "fim_suffix", "fim_middle", *within] if pieces[0][1] == "":
            around, suffix, mode = pieces[2:], pieces[1][1], "spm"
        case _:
            return None
    prefix = around[0][1]
    if within:
        inner, rest = _header(around[1:], vocabulary.family)
        if header or prefix or rest:
            return None
        control, last = inner[-1]
        line, newline, prefix = last.partition("\n")
        found = Header((*inner[:-1], (control, line + newline)), within=True)
    else:
        found = Header(header)
    if not all(_is_line(line, last=number == len(found.fields)) for number, (_, line) in enumerate(found.fields, 1)):
        return None
    return Hole(prefix, suffix, mode="psm" if mode == "psm" else "spm", header=found if found.fields else None)


def _pieces(text: str, vocabulary: Vocabulary) -> list[_Piece] | None:
    """The text cut at every spelling of a control; None when it does not begin with one."""
    known = dict(FAMILIES[vocabulary.family].controls)
    names = {known[name]: name for name in known if vocabulary.has_control(name)}
    cut = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
    if cut[0] or len(cut) == 1:
        return None
    return [(names[spelling], behind) for spelling, behind in zip(cut[1::2], cut[2::2], strict=True)]


def _header(pieces: Sequence[_Piece], family: str) -> tuple[tuple[_Piece, ...], list[_Piece]]:
    """The header that the pieces begin with, if any, and the rest."""
    length = 0
    for control in HEADER[family]:
        if length < len(pieces) and pieces[length][0] == control:
            length += 1
    return tuple(pieces[:length]), list(pieces[length:])


def _is_line(text: str, *, last: bool) -> bool:
    """Whether what stands behind a control of a header is one line; only the last one has a line break, if any."""
    line = text.removesuffix("\n") if last else text
    return "\n" not in line and bool(line or last)
