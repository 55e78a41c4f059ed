"""A small vocabulary and small mixes for the tests of tokens: real stages over rows that a test made up."""

from __future__ import annotations

import functools
import hashlib
import inspect
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from starloom.corpus.rendered import Edit, Part, Rendered, replaced
from starloom.corpus.schemas import MIX, table_of
from starloom.stage import Runtime, Stage, Work, build, external
from starloom.store import Built, Store, write_table
from starloom.tokens.bpe import Vocabulary, train
from starloom.tokens.pack import Pack

PROSE = (
    "def read_lines(path):\n    with open(path) as file:\n        return [line.rstrip() for line in file]\n\n",
    "class Reader:\r\n\t# größe, naïve café — “quoted”\r\n\tsize = 12345.6789\r\n",
    "日本語のテキスト、日本の言葉。データを読む。\n中文文本：读取数据，读取文件。\n",
    "emoji 🙂🙃🚀 🙂🙂 и русский текст, русские слова\n   \t  \n\n\n        return None\n",
)


@functools.cache
def vocabulary(family: str = "starcoder", size: int = 700) -> Vocabulary:
    """Small, but with tokens that hold parts of characters, and whole ones with parts of the next."""
    return train([*PROSE * 20, inspect.getsource(textwrap)], vocab_size=size, family=family)


# Text that looks like code and like no code: any characters, and what pre-tokenization treats specially.
texts = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=12),
        st.sampled_from(
            [*PROSE, "\r\n", "\t", "    ", "\n\n", " ", "1234567", "é", "日本", "🚀", "'re", "###", "_", "<fim_prefix>"]
        ),
    ),
    max_size=8,
).map("".join)


@dataclass(frozen=True, slots=True)
class Copied(Stage):
    """A stage whose files are those of a folder."""

    folder: str = external()

    def external_digests(self) -> dict[str, str]:
        files = sorted(Path(self.folder).iterdir())
        return {"folder": hashlib.sha256(b"".join(f.name.encode() + f.read_bytes() for f in files)).hexdigest()}

    def produce(self, work: Work) -> None:
        with work.unit("copied") as unit:
            for path in Path(self.folder).iterdir():
                shutil.copyfile(path, unit.path(path.name))


def row(rendered: Rendered, split: str = "train", weight: float = 1.0, validation: str | None = None) -> dict[str, Any]:
    """A row of a mix."""
    first = next((part.source for part in rendered.parts if part.source is not None), bytes(16))
    return {
        "id": first,
        "parts": [
            {"control": part.control, "text": part.text, "source": part.source, "field": part.field}
            for part in rendered.parts
        ],
        "edits": [{name: getattr(edit, name) for name in Edit.__dataclass_fields__} for edit in rendered.edits],
        "group": "g",
        "split": split,
        "validation": validation,
        "weight": weight,
    }


def file_row(
    text: str, number: int = 0, split: str = "train", weight: float = 1.0, validation: str | None = None
) -> dict[str, Any]:
    """A row that holds one file and the end of the document."""
    rendered = Rendered((Part(None, text, source_id(number), "text"), Part("end_of_document", "")))
    return row(rendered, split, weight, validation)


def source_id(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def pack_stage(folder: Path, shards: Sequence[Sequence[dict[str, Any]]], context: int, words: Vocabulary) -> Pack:
    """A `Pack` over shards of rows and a vocabulary, which are written into the folder."""
    mix, vocab = folder / "rows", folder / "words"
    mix.mkdir(parents=True)
    vocab.mkdir()
    for number, rows in enumerate(shards):
        write_table(mix / f"part-{number:05d}.parquet", table_of(rows, MIX))
    words.save(vocab)
    return Pack(Copied(str(mix)), Copied(str(vocab), label="vocab"), context)


@contextmanager
def packed(
    shards: Sequence[Sequence[dict[str, Any]]], context: int = 32, words: Vocabulary | None = None
) -> Iterator[Built]:
    """A built `Pack` in a folder that is gone afterwards; in memory where the machine can, as every file is fsynced."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        stage = pack_stage(Path(name), shards, context, words or vocabulary())
        yield build(stage, Store(Path(name) / "store"), Runtime())


@st.composite
def documents(draw: st.DrawFn, first_source: int = 0) -> tuple[Rendered, dict[tuple[bytes, str], bytes]]:
    """A row with metadata, files, redactions, marks and insertions, and the bytes of every field that it came from."""
    parts: list[Part] = []
    edits: list[Edit] = []
    fields: dict[tuple[bytes, str], bytes] = {}
    for number in range(draw(st.integers(1, 3))):
        source = source_id(first_source + number)
        if draw(st.booleans()):
            for control, field in (("repository", "repository"), ("file_name", "path")):
                value = draw(st.text(st.characters(codec="utf-8"), max_size=8))
                fields[source, field] = value.encode()
                parts.append(Part(control, value, source, field))
        if draw(st.booleans()):
            parts.append(Part(draw(st.sampled_from([None, "stars"])), "100-1000", None, None))
        parts.append(Part(None, "\n"))
        original = draw(texts)
        fields[source, "text"] = original.encode()
        cuts = sorted(draw(st.lists(st.integers(0, len(original)), max_size=6)))
        places = [len(original[:cut].encode()) for cut in cuts]
        changes = [
            (start, end, draw(st.sampled_from(["", "x", "<EMAIL>", "密钥"])))
            for start, end in zip(places[::2], places[1::2], strict=False)
        ]
        text, made = replaced(original, changes, len(parts))
        parts.append(Part(None, text, source, "text"))
        edits += made
        if draw(st.booleans()):  # a mark: a control that stands for the source's bytes, or text in a family without it
            fields[source, "note"] = b"call me at a@b.c, please"
            parts.append(Part("redacted_email", ", please", source, "note"))
            edits.append(Edit(len(parts) - 1, 0, 0, 11, 16))
    parts.append(Part("end_of_document", ""))
    return Rendered(tuple(parts), tuple(edits)), fields


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Rendered], dict[tuple[bytes, str], bytes]]:
    """Rows with sources of their own, and every field that they came from."""
    drawn = [draw(documents(first_source=10 * number)) for number in range(draw(st.integers(1, 4)))]
    return [row for row, _ in drawn], {key: value for _, fields in drawn for key, value in fields.items()}


ByteOrigin = tuple[bytes, str, int, int, bool] | None


def origin_of_each_byte(row: Rendered) -> list[ByteOrigin]:
    """Source, field and region of each rendered byte, and whether it was copied; None: inserted."""
    found: list[ByteOrigin] = []
    for number, part in enumerate(row.parts):
        size = len(part.text.encode())
        if part.source is None or part.field is None:
            found += [None] * size
            continue
        edits = sorted((e for e in row.edits if e.part == number), key=lambda e: (e.start, e.end))
        at = edits[0].source_start - edits[0].start if edits else 0
        local = 0
        for edit in edits:
            found += [(part.source, part.field, at + i, at + i + 1, True) for i in range(edit.start - local)]
            gone = edit.source_end > edit.source_start
            region: ByteOrigin = (part.source, part.field, edit.source_start, edit.source_end, False) if gone else None
            found += [region] * (edit.end - edit.start)
            at, local = edit.source_end, edit.end
        found += [(part.source, part.field, at + i, at + i + 1, True) for i in range(size - local)]
    return found
