"""The same real files in the layout of each family: packed with the family's own tokenizer, read alike by `transformers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from journey import small
from starloom import corpus, tokens
from starloom.corpus.rendered import Rendered
from starloom.errors import TokenizerError
from starloom.stage import Runtime, build
from starloom.store import Built, Store
from starloom.tokens.pack import open_tokens
from starloom.tokens.special import FAMILIES, every_spelling

CONTROLS = {  # what a layout puts around files, without the end of a document
    "santacoder": set(),
    "starcoder": {"repository", "file_name"},
    "starcoder2": {"repository", "file_separator"},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, corpus.Read]:
    folder = tmp_path_factory.mktemp("families")
    return folder, corpus.Read(str(small.source(folder)))


def packed(place: tuple[Path, corpus.Read], layout: str, family: str) -> tuple[Built, Built]:
    folder, read = place
    metadata = None if layout == "santacoder" else 0.9
    mix = corpus.Mix(read, layout=layout, metadata=metadata, heldout=0.2)  # type: ignore[arg-type]
    pack = tokens.Pack(mix, tokens.TrainBPE(mix, vocab_size=700, family=family), context=64)
    done: dict[int, Built] = {}
    build(pack, Store(folder / "store"), Runtime(), built=done)
    return done[id(mix)], done[id(pack)]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layout_packs_with_its_own_tokenizer_and_transformers_gives_the_same_ids(
    family: str, files: tuple[Path, corpus.Read]
) -> None:
    from transformers import AutoTokenizer

    mix, pack = packed(files, family, family)
    theirs = AutoTokenizer.from_pretrained(pack.directory)
    words = tokens.Vocabulary.load(pack)
    assert words.family == family
    assert (words.size, words.rows) == ((705, 768) if family == "santacoder" else (700, 700))
    spellings = dict(FAMILIES[family].controls)
    met: set[str] = set()
    for split in ("train", "heldout"):
        expected: list[int] = []
        for table in mix.tables(["parts", "edits", "split"]):
            for row in table.to_pylist():
                for run in Rendered.of_row(row).runs() if row["split"] == split else ():
                    if run.control is not None:
                        met.add(run.control)
                        expected += theirs(spellings[run.control])["input_ids"]
                    typed = any(spelling in run.text for spelling in every_spelling())
                    expected += words.encode(run.text) if typed else theirs(run.text)["input_ids"]
        assert open_tokens(pack.path(f"tokens-{split}.bin")).tolist() == expected
        assert expected
    assert met == {"end_of_document", *CONTROLS[family]}
    assert theirs.model_max_length == 64


def test_a_layout_with_the_tokenizer_of_a_family_that_lacks_its_controls_says_so(
    files: tuple[Path, corpus.Read],
) -> None:
    with pytest.raises(TokenizerError, match="the santacoder family has no control token 'repository'; use a layout"):
        packed(files, "starcoder2", "santacoder")
