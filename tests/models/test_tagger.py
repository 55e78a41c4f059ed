"""The tagger: spans are exact bytes, windows join, and a small model learns the labels of a file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForTokenClassification

from corpus.planted import by_path, made, plant, rows
from starloom.corpus import FindPII, Mix, Read
from starloom.corpus.pii import PATTERNS, Tagger
from starloom.errors import CheckpointError, ConfigError, SourceError
from starloom.models.tagger import (
    LABELS,
    CheckpointTagger,
    Finetuning,
    Labelled,
    _with_padding,
    finetune,
    joined,
    load,
    read_labelled,
)
from starloom.tokens.bpe import train

FIRST, LAST = ["Anna", "Björn", "Chloé", "李"], ["Okafor", "Müller", "Rossi"]
SECRETS = ["hunter2", "pässwort9", "qwerty77"]


def text_of(chance: random.Random) -> Labelled:
    """A snippet with a name and a password."""
    name, secret = f"{chance.choice(FIRST)} {chance.choice(LAST)}", chance.choice(SECRETS)
    text, spans = "", []
    for before, value, tag in (("# author: ", name, "NAME"), ('\npassword = "', secret, "PASSWORD")):
        text += before
        start = len(text.encode())
        text += value
        spans.append((start, len(text.encode()), tag))
    return Labelled(text + '"\nx = 1\n', tuple(spans))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder of two layers with a tokenizer of ours."""
    folder = tmp_path_factory.mktemp("base")
    chance = random.Random(0)
    vocabulary = train([text_of(chance).text for _ in range(200)], vocab_size=330)
    vocabulary.save(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocabulary.size,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertForTokenClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    chance = random.Random(1)
    samples = [text_of(chance) for _ in range(120)]
    target = tmp_path_factory.mktemp("tagger")
    how = Finetuning(rate=4e-3, batch=16, max_length=64, epochs=12, patience=4)
    return target, finetune(str(base), samples[:100], samples[100:], target, how)


def test_a_small_model_learns_names_and_passwords(trained: tuple[Path, list[float]]) -> None:
    folder, scores = trained
    assert scores[0] < 0.9 < max(scores)
    tagger = load(str(folder))
    one = text_of(random.Random(99))
    assert tuple((entity.start, entity.end, str(entity.kind)) for entity in tagger.tag([one.text])[0]) == one.spans


def test_training_stops_when_f1_no_longer_rises(base: Path, tmp_path: Path) -> None:
    samples = [text_of(random.Random(n)) for n in range(4)]
    scores = finetune(str(base), samples, samples, tmp_path, Finetuning(rate=0.0, epochs=50, patience=3))
    assert len(scores) == 4  # the first counts as a rise from nothing


def test_a_tagger_finds_what_patterns_cannot_and_the_mix_redacts_it(
    trained: tuple[Path, list[float]], tmp_path: Path
) -> None:
    folder, _ = trained
    code = plant(tmp_path / "code", {f"{n}.py": text_of(random.Random(n)).text.encode() for n in range(4)})
    files = Read(f"folder:{code}")
    secrets = FindPII(files, kinds=(*PATTERNS, "NAME", "PASSWORD"), tagger=load, checkpoint=str(folder))
    assert made(secrets, tmp_path / "store").manifest["externals"]["checkpoint"]
    kept = rows(made(Mix(files, redact=secrets), tmp_path / "store"))
    texts = ["".join(part["text"] for part in row["parts"]) for row in kept]
    assert len(texts) == len(by_path(made(files, tmp_path / "store"))) == 4
    assert not [text for text in texts for value in (*LAST, *SECRETS) if value in text]


class Fixed:
    """A model that labels by token id: what a tokenizer gave is what a label falls on."""

    def __init__(self, labels: dict[int, int], positions: int) -> None:
        self.labels, self.lengths = labels, []
        names = dict(enumerate(LABELS))
        self.config = type(
            "Config", (), {"id2label": names, "num_labels": len(names), "max_position_embeddings": positions}
        )

    def eval(self) -> Fixed:
        return self

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        self.lengths.append(input_ids.shape[1])
        wanted = torch.tensor([[self.labels.get(one, 0) for one in row] for row in input_ids.tolist()])
        return type("Said", (), {"logits": torch.nn.functional.one_hot(wanted, len(LABELS))})


@given(st.text("aé漢😀b \n", min_size=1, max_size=60), st.integers(1, 9))
def test_spans_are_exact_bytes_whatever_the_window(base: Path, text: str, window: int) -> None:
    from transformers import AutoTokenizer

    tokenizer = _with_padding(AutoTokenizer.from_pretrained(base))
    name = LABELS.index("I-NAME")
    wanted = {number: name for number in range(len(tokenizer)) if "b" in tokenizer.decode([number])}
    tagger: Tagger = CheckpointTagger(Fixed(wanted, window), tokenizer)
    data = text.encode()
    for start, end, kind in tagger.tag([text])[0]:
        assert kind == "NAME"
        assert b"b" in data[start:end]
        assert data[start:end].decode().strip() == data[start:end].decode()
    covered = {place for start, end, _ in tagger.tag([text])[0] for place in range(start, end)}
    assert {place for place, octet in enumerate(data) if octet == ord("b")} <= covered


@given(st.lists(st.sampled_from(LABELS), max_size=12))
def test_joined_labels_cover_each_labelled_token_once(labels: list[str]) -> None:
    tokens = [(number, number + 1, label) for number, label in enumerate(labels)]
    spans = joined(tokens)
    assert [place for start, end, _ in spans for place in range(start, end)] == [
        number for number, label in enumerate(labels) if label != "O"
    ]
    assert all(labels[place][2:] == tag for start, end, tag in spans for place in range(start, end))
    assert {number for number, label in enumerate(labels) if label[0] == "B"} <= {start for start, _, _ in spans}


def test_labelled_files_are_read_and_bad_lines_named(tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    row = {"text": "é Jo", "spans": [{"start": 3, "end": 5, "reason": "NAME"}]}
    path.write_text(json.dumps(row) + "\n")
    assert read_labelled(path) == [Labelled("é Jo", ((3, 5, "NAME"),))]
    for bad in ({**row, "spans": [{"start": 3, "end": 6, "reason": "NAME"}]}, {"text": "x"}, [1]):
        path.write_text(json.dumps(row) + "\n" + json.dumps(bad) + "\n")
        with pytest.raises(SourceError, match="line 2"):
            read_labelled(path)
    path.write_text(json.dumps({**row, "spans": [{"start": 3, "end": 5, "reason": "NAMES"}]}))
    with pytest.raises(SourceError, match="NAMES"):
        read_labelled(path)


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds no token-classification checkpoint"):
        load(str(tmp_path))


def test_kinds_that_need_a_model_ask_for_one() -> None:
    with pytest.raises(ConfigError, match="find_pii finds NAME by a model only"):
        FindPII(Read("x"), kinds=("NAME",))
    with pytest.raises(ConfigError, match="tagger and checkpoint together"):
        FindPII(Read("x"), checkpoint="somewhere")
    with pytest.raises(ConfigError, match="no kind 'MAIL' of personal data"):
        FindPII(Read("x"), kinds=("MAIL",))  # type: ignore[arg-type]
