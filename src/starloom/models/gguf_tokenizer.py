"""A tokenizer as GGUF metadata: BPE over bytes, cut as llama.cpp's "starcoder" cuts text, controls marked as such."""

from __future__ import annotations

from typing import Any, Final

from starloom.tokens import tokenizer_json
from starloom.tokens.bpe import Vocabulary

_FIM_KEYS: Final = {
    "fim_prefix": "FIM_PRE_ID",
    "fim_suffix": "FIM_SUF_ID",
    "fim_middle": "FIM_MID_ID",
    "fim_pad": "FIM_PAD_ID",
    "repository": "FIM_REP_ID",
    "file_separator": "FIM_SEP_ID",
}


def describe(gguf: Any, writer: Any, vocabulary: Vocabulary, rows: int) -> None:
    """Add the tokenizer's metadata, with a token that is never used for each row of the embedding past the vocabulary."""
    tables = tokenizer_json.read(vocabulary.files()["tokenizer.json"], "the tokenizer")
    kinds = gguf.TokenType
    tokens = [f"[PAD{number}]" for number in range(rows)]
    types = [int(kinds.UNUSED)] * rows
    for token, number in tables.tokens.items():
        tokens[number], types[number] = token, int(kinds.NORMAL)
    for spelling, number in tables.controls.items():
        tokens[number], types[number] = spelling, int(kinds.CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")  # digits one by one, then GPT-2's expression
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([f"{left} {right}" for left, right in tables.merges])
    end = vocabulary.end_of_document
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_unk_token_id(end)
    writer.add_add_bos_token(False)  # a text starts with its own first token, as in training
    for control, key in _FIM_KEYS.items():
        if vocabulary.has_control(control):
            writer.add_uint32(getattr(gguf.Keys.Tokenizer, key), vocabulary.control(control))
