"""The published sizes of both families, and the one of the quickstart, as plain data.

Shapes and token ids as in the Hugging Face config.json of each checkpoint. `initializer_range` is what the model was
trained from (`--init-method-std` in the launch scripts of bigcode-project/Megatron-LM), as a preset is there to train
one of your own; the config.json files of GPTBigCode say 0.02 throughout, those of Starcoder2 what stands here.
"""

from __future__ import annotations

from typing import Final

from starloom.models.config import GPTBigCodeConfig, ModelConfig, Starcoder2Config

# bigcode/gpt_bigcode-santacoder: 49,152 merges and bytes, 5 added tokens, padded to 49,280 rows; <|endoftext|> is 49152
SANTACODER: Final = GPTBigCodeConfig(
    vocab_size=49280, n_positions=2048, n_embd=2048, n_layer=24, n_head=16, n_inner=8192,
    activation_function="gelu_fast", initializer_range=0.022, bos_token_id=49152, eos_token_id=49152,
)  # fmt: skip
# bigcode/santacoder, revision mha: the same with one key and value head for each query head (model card)
SANTACODER_MHA: Final = GPTBigCodeConfig(
    vocab_size=49280, n_positions=2048, n_embd=2048, n_layer=24, n_head=16, n_inner=8192, multi_query=False,
    activation_function="gelu_fast", initializer_range=0.022, bos_token_id=49152, eos_token_id=49152,
)  # fmt: skip
STARCODERBASE_1B: Final = GPTBigCodeConfig(
    vocab_size=49152, n_positions=8192, n_embd=2048, n_layer=24, n_head=16, n_inner=8192,
    activation_function="gelu_pytorch_tanh", initializer_range=0.02209, bos_token_id=0, eos_token_id=0,
)  # fmt: skip
STARCODERBASE_3B: Final = GPTBigCodeConfig(
    vocab_size=49152, n_positions=8192, n_embd=2816, n_layer=36, n_head=22, n_inner=11264,
    activation_function="gelu_pytorch_tanh", initializer_range=0.01884, bos_token_id=0, eos_token_id=0,
)  # fmt: skip
STARCODERBASE_7B: Final = GPTBigCodeConfig(
    vocab_size=49152, n_positions=8192, n_embd=4096, n_layer=42, n_head=32, n_inner=16384,
    activation_function="gelu", initializer_range=0.015625, bos_token_id=0, eos_token_id=0,
)  # fmt: skip
# bigcode/starcoderbase, and bigcode/starcoder, which goes on from it
STARCODERBASE_15B: Final = GPTBigCodeConfig(
    vocab_size=49152, n_positions=8192, n_embd=6144, n_layer=40, n_head=48, n_inner=24576,
    activation_function="gelu", initializer_range=0.01275, bos_token_id=0, eos_token_id=0,
)  # fmt: skip

# bigcode/starcoder2-3b; rope_theta is what its config.json says, to the last digit. Dropout as the configs have it, 0.1 (15b:
# in its later revision); they leave tie_word_embeddings at its default, true, but for 15b.
STARCODER2_3B: Final = Starcoder2Config(
    vocab_size=49152, hidden_size=3072, intermediate_size=12288, num_hidden_layers=30, num_attention_heads=24,
    num_key_value_heads=2, max_position_embeddings=16384, sliding_window=4096, rope_theta=999999.4420358813,
    initializer_range=0.018042, attention_dropout=0.1, residual_dropout=0.1, embedding_dropout=0.1,
    bos_token_id=0, eos_token_id=0,
)  # fmt: skip
STARCODER2_7B: Final = Starcoder2Config(
    vocab_size=49152, hidden_size=4608, intermediate_size=18432, num_hidden_layers=32, num_attention_heads=36,
    num_key_value_heads=4, max_position_embeddings=16384, sliding_window=4096, rope_theta=1_000_000.0,
    initializer_range=0.018042, attention_dropout=0.1, residual_dropout=0.1, embedding_dropout=0.1,
    bos_token_id=0, eos_token_id=0,
)  # fmt: skip
STARCODER2_15B: Final = Starcoder2Config(
    vocab_size=49152, hidden_size=6144, intermediate_size=24576, num_hidden_layers=40, num_attention_heads=48,
    num_key_value_heads=4, max_position_embeddings=16384, sliding_window=4096, rope_theta=100_000.0,
    initializer_range=0.01275, attention_dropout=0.1, residual_dropout=0.1, embedding_dropout=0.1,
    tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
)  # fmt: skip

# Our choice: what two CPU cores train to something useful in three minutes (a body of 1.3M parameters and a head of
# 2.1M; docs/log.md has the sizes that were tried). No dropout: it sees its corpus less than once. The vocabulary size and
# the end-of-document id are the tokenizer's: `dataclasses.replace(QUICKSTART, vocab_size=…, bos_token_id=…, eos_token_id=…)`.
QUICKSTART: Final = GPTBigCodeConfig(
    vocab_size=8192, n_positions=512, n_embd=256, n_layer=2, n_head=4,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)  # fmt: skip

PRESETS: Final[dict[str, ModelConfig]] = {
    "santacoder": SANTACODER,
    "santacoder-mha": SANTACODER_MHA,
    "starcoderbase-1b": STARCODERBASE_1B,
    "starcoderbase-3b": STARCODERBASE_3B,
    "starcoderbase-7b": STARCODERBASE_7B,
    "starcoderbase-15b": STARCODERBASE_15B,
    "starcoder2-3b": STARCODER2_3B,
    "starcoder2-7b": STARCODER2_7B,
    "starcoder2-15b": STARCODER2_15B,
    "quickstart": QUICKSTART,
}
