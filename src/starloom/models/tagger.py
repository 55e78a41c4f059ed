"""Names, usernames and passwords in code: any transformers checkpoint for token classification, StarPII's labels.

`load(folder)` is a `Tagger` of `corpus/pii.py`; `finetune` makes such a folder from labelled files. Texts are read in
windows of 512 tokens without overlap, an entity may go on from one to the next; spans are exact bytes of the text.
What is not covered: checkpoints that bring code of their own, tokenizers without offsets, pickled weights.
"""

# W windows, T tokens of a window, C labels

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from starloom.corpus.pii import KINDS, Entity
from starloom.errors import CheckpointError, ConfigError, MissingExtraError, SourceError
from starloom.records import uniform

WINDOW = 512  # tokens at inference, no overlap (bigcode-dataset pii/ner/pii_inference)
BATCH = 16  # windows at once; our choice
TAGS = ("NAME", "EMAIL", "EMAIL_EXAMPLE", "USERNAME", "KEY", "IP_ADDRESS", "PASSWORD")  # StarPII's, in their order
LABELS = ("O", *(f"{place}-{tag}" for tag in TAGS for place in "BI"))
IGNORED = frozenset(
    ("AMBIGUOUS", "ID", "NAME_EXAMPLE", "USERNAME_EXAMPLE")
)  # labelled, and neither learned nor counted
NO_LOSS = -100  # torch's ignore_index
_KINDS = frozenset(KINDS)


class Labelled(NamedTuple):
    """A text with its entities; tags are TAGS and IGNORED."""

    text: str
    spans: tuple[tuple[int, int, str], ...]  # bytes, tag


@dataclass(frozen=True, slots=True)
class Finetuning:
    """How a tagger is trained; the defaults are StarPII's (bigcode-dataset pii/ner/pii_train_ner/train.py)."""

    rate: float = 2e-5
    batch: int = 64
    max_length: int = 1024
    epochs: int = 100
    patience: int = 15  # epochs without a better F1
    better: float = 1e-2  # by how much F1 must rise to count
    seed: int = 0


class CheckpointTagger:
    """A model for token classification and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, window: int = WINDOW) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        longest = getattr(model.config, "max_position_embeddings", None) or window
        self.window = min(window, longest)
        self.labels = [model.config.id2label[number] for number in range(model.config.num_labels)]

    def tag(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text, of the kinds that can be redacted."""
        return [[Entity(start, end, tag) for start, end, tag in self.spans(text) if tag in _KINDS] for text in texts]

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Every labelled span of a text: first byte, end, tag."""
        if not text:
            return []
        windows = _windows(self.tokenizer, text, self.window)
        tokens: list[tuple[int, int, str]] = []
        for begin in range(0, len(windows["input_ids"]), BATCH):
            batch = {key: torch.tensor(value[begin : begin + BATCH]) for key, value in windows.items()}
            offsets, special = batch.pop("offset_mapping"), batch.pop("special_tokens_mask").bool()
            with torch.no_grad():
                best_WT = self.model(**batch).logits.argmax(-1)
            real = ~special & batch["attention_mask"].bool()
            tokens += [
                (start, end, self.labels[label])
                for (start, end), label in zip(offsets[real].tolist(), best_WT[real].tolist(), strict=True)
            ]
        return _in_bytes(text, joined(tokens))


def load(folder: str) -> CheckpointTagger:
    """The tagger of a checkpoint folder. Raises CheckpointError when it holds none, MissingExtraError without transformers."""
    model_class, tokenizer_class = _classes()
    if not Path(folder, "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json; give the folder of a token-classification checkpoint")
    try:
        tokenizer = tokenizer_class.from_pretrained(folder, local_files_only=True)
        model = model_class.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no token-classification checkpoint: {error}") from None
    return CheckpointTagger(model, _with_padding(tokenizer))


def joined(tokens: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Spans of tokens that carry the labels of one entity: `B-` begins one, `I-` goes on or, behind another tag, begins."""
    found: list[tuple[int, int, str]] = []
    last = ""
    for start, end, label in tokens:
        place, _, tag = label.partition("-")
        if tag and place == "I" and tag == last:
            found[-1] = (found[-1][0], end, tag)
        elif tag:
            found.append((start, end, tag))
        last = tag
    return found


def finetune(
    base: str,
    training: Sequence[Labelled],
    validation: Sequence[Labelled],
    target: Path,
    how: Finetuning = Finetuning(),
) -> list[float]:
    """Train a base encoder (or a tagger) on labelled texts and write the best epoch to `target`. Returns F1 by epoch.

    AdamW with a rate that falls to 0 over all epochs; ends when F1 on the validation texts has not risen for
    `how.patience` epochs.
    """
    if not training or not validation:
        raise ConfigError(f"{len(training)} texts to train a tagger and {len(validation)} to validate; give both")
    model_class, tokenizer_class = _classes()
    names = dict(enumerate(LABELS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        model = model_class.from_pretrained(
            base,
            local_files_only=True,
            use_safetensors=True,
            id2label=names,
            label2id={label: number for number, label in names.items()},
            num_labels=len(LABELS),
            ignore_mismatched_sizes=True,
        )
        tokenizer = _with_padding(tokenizer_class.from_pretrained(base, local_files_only=True))
        longest = min(how.max_length, getattr(model.config, "max_position_embeddings", None) or how.max_length)
        rows = [row for one in training for row in _rows(tokenizer, one, longest)]
        steps = how.epochs * -(-len(rows) // how.batch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=how.rate, weight_decay=0.0)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        scores: list[float] = []
        best, since, kept = -1.0, 0, copy.deepcopy(model.state_dict())
        for epoch in range(how.epochs):
            model.train()
            order = sorted(range(len(rows)), key=lambda row: uniform(how.seed, epoch, row))
            for begin in range(0, len(order), how.batch):
                batch = [rows[row] for row in order[begin : begin + how.batch]]
                optimizer.zero_grad()
                _loss(model, batch, tokenizer.pad_token_id).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                falling.step()
            scores.append(f1(CheckpointTagger(model, tokenizer, longest), validation))
            if scores[-1] > best:  # the best weights, however little better; patience asks for `better`
                kept = copy.deepcopy(model.state_dict())
            since = 0 if scores[-1] > best + how.better else since + 1
            best = max(best, scores[-1])
            if since >= how.patience:
                break
    model.load_state_dict(kept)
    model.save_pretrained(target, safe_serialization=True)
    tokenizer.save_pretrained(target)
    return scores


def f1(tagger: CheckpointTagger, labelled: Sequence[Labelled]) -> float:
    """Harmonic mean of precision and recall of exact spans; what overlaps an ignored label counts neither way."""
    right = found = wanted = 0
    for one in labelled:
        truth = {span for span in one.spans if span[2] not in IGNORED}
        apart = [span for span in one.spans if span[2] in IGNORED]
        said = {
            span
            for span in tagger.spans(one.text)
            if not any(span[0] < end and start < span[1] for start, end, _ in apart)
        }
        right, found, wanted = right + len(truth & said), found + len(said), wanted + len(truth)
    return 2 * right / (found + wanted) if found + wanted else 1.0


def read_labelled(path: Path) -> list[Labelled]:
    """Labelled texts of a JSONL file: `{"text": …, "spans": [{"start": byte, "end": byte, "reason": tag}]}` on each line."""
    found = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                spans = tuple((int(one["start"]), int(one["end"]), str(one["reason"])) for one in row["spans"])
                size = len(row["text"].encode())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise SourceError(f"{path} line {number} is no labelled text ({error}); see `read_labelled`") from None
            for start, end, tag in spans:
                if (tag not in TAGS and tag not in IGNORED) or not 0 <= start < end <= size:
                    raise SourceError(f"{path} line {number}: no span {start} to {end} of {tag} in {size} bytes")
            found.append(Labelled(row["text"], spans))
    return found


def _rows(tokenizer: Any, one: Labelled, longest: int) -> Iterator[tuple[list[int], list[int]]]:
    """(token ids, labels) of each window of a text; no loss on special tokens and on ignored labels."""
    windows = _windows(tokenizer, one.text, longest)
    places = list(accumulate((len(letter.encode()) for letter in one.text), initial=0))
    number = {label: at for at, label in enumerate(LABELS)}
    begun: set[tuple[int, int, str]] = set()
    columns = (windows[key] for key in ("input_ids", "offset_mapping", "special_tokens_mask", "attention_mask"))
    for ids, offsets, special, real in zip(*columns, strict=True):
        labels = []
        for (start, end), added in zip(offsets, special, strict=True):
            span = next((s for s in one.spans if s[0] < places[end] and places[start] < s[1]), None)
            if added:
                labels.append(NO_LOSS)
            elif span is None or start == end:
                labels.append(0)
            elif span[2] in IGNORED:
                labels.append(NO_LOSS)
            else:
                labels.append(number[f"{'I' if span in begun else 'B'}-{span[2]}"])
                begun.add(span)
        length = sum(real)
        yield ids[:length], labels[:length]


def _windows(tokenizer: Any, text: str, window: int) -> dict[str, list[Any]]:
    """Token ids, masks and character offsets of consecutive windows, padded on the right."""
    said = tokenizer(
        text,
        truncation=True,
        max_length=window,
        stride=0,
        padding=True,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    keys = ("input_ids", "attention_mask", "offset_mapping", "special_tokens_mask")
    return {key: said[key] for key in keys}


def _loss(model: Any, rows: Sequence[tuple[list[int], list[int]]], padding: int) -> Tensor:
    size = max(len(ids) for ids, _ in rows)
    ids_WT = torch.tensor([ids + [padding] * (size - len(ids)) for ids, _ in rows])
    mask_WT = torch.tensor([[1] * len(ids) + [0] * (size - len(ids)) for ids, _ in rows])
    labels_WT = torch.tensor([labels + [NO_LOSS] * (size - len(labels)) for _, labels in rows])
    logits_WTC = model(input_ids=ids_WT, attention_mask=mask_WT).logits
    return torch.nn.functional.cross_entropy(logits_WTC.flatten(0, 1), labels_WT.flatten(), ignore_index=NO_LOSS)


def _in_bytes(text: str, spans: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Character spans as byte spans, without the white space around them that byte-level tokens take along."""
    if not spans:
        return []
    places = list(accumulate((len(letter.encode()) for letter in text), initial=0))
    found = []
    for start, end, tag in spans:
        value = text[start:end]
        start, end = start + len(value) - len(value.lstrip()), end - len(value) + len(value.rstrip())
        if start < end:
            found.append((places[start], places[end], tag))
    return found


def _with_padding(tokenizer: Any) -> Any:
    """The tokenizer with some padding token, on the right; a model never sees it behind the mask."""
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"the tokenizer of {tokenizer.name_or_path} gives no offsets; use one with a tokenizer.json"
        )
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _classes() -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForTokenClassification, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(error.name or "transformers", "pii") from None
    return AutoModelForTokenClassification, AutoTokenizer
