"""The published snippets, run through `transformers` as they stand, give the tokens that starloom gives.

The programs below are the model cards' own; edited are broken line breaks and "cuda" → "cpu" alone. Beside each stands
what one writes with starloom. The checkpoints have the published names, in the working folder, and are tiny and random.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import CORPUS

import starloom
from starloom.generate.protocol import Completion
from starloom.models.causal_lm import new_model, save_model
from starloom.models.config import GPTBigCodeConfig, ModelConfig
from starloom.models.starcoder2_config import Starcoder2Config
from starloom.tokens import bpe
from starloom.tokens.bpe import Vocabulary

NEW_TOKENS = 40  # the length that generation_config.json asks for

GENERATE = """
from transformers import AutoModelForCausalLM, AutoTokenizer

checkpoint = "{name}"
device = "cpu" # for GPU usage or "cpu" for CPU usage

tokenizer = AutoTokenizer.from_pretrained(checkpoint)
model = AutoModelForCausalLM.from_pretrained(checkpoint{remote}).to(device)

inputs = tokenizer.encode("def print_hello_world():", return_tensors="pt").to(device)
outputs = model.generate(inputs)
print(tokenizer.decode(outputs[0]))
"""

INFILL = """
input_text = "<fim{h}prefix>def print_hello_world():\\n    <fim{h}suffix>\\n    print('Hello world!')<fim{h}middle>"
inputs = tokenizer.encode(input_text, return_tensors="pt").to(device)
outputs = model.generate(inputs)
print(tokenizer.decode(outputs[0]))
"""

GPTEACHER = '''
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

checkpoint = "GeorgiaTechResearchInstitute/starcoder-gpteacher-code-instruct"
device = "cpu"

input_prompt = ("Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\\n\\n"
                "### Instruction:\\n"
                "{instruction}\\n\\n"
                "### Input:\\n"
                "{input}\\n\\n"
                "### Response:")

prompt = "Please explain the following program."
extra_input = """send(to, from, count)
              register short *to, *from;
              register count;
              {
                register n = (count + 7) / 8;
                switch (count % 8) {
                case 0: do { *to = *from++;
                case 7:      *to = *from++;
                case 6:      *to = *from++;
                case 5:      *to = *from++;
                case 4:      *to = *from++;
                case 3:      *to = *from++;
                case 2:      *to = *from++;
                case 1:      *to = *from++;
                  } while (--n > 0);
                }
              }"""
prompt = input_prompt.format_map({"instruction": prompt, "input": extra_input})

tokenizer = AutoTokenizer.from_pretrained(checkpoint)
model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True, torch_dtype=torch.float16).to(device)

inputs = tokenizer.encode(prompt, return_tensors="pt").to(device)
outputs = model.generate(inputs)
print(tokenizer.decode(outputs[0]))
'''

INSTRUCT = """
import transformers
import torch

pipeline = transformers.pipeline(
    model="bigcode/starcoder2-15b-instruct-v0.1",
    task="text-generation",
    torch_dtype=torch.bfloat16,
    device_map="auto",
)

def respond(instruction: str, response_prefix: str) -> str:
    messages = [{"role": "user", "content": instruction}]
    prompt = pipeline.tokenizer.apply_chat_template(messages, tokenize=False)
    prompt += response_prefix

    teminators = [
        pipeline.tokenizer.eos_token_id,
        pipeline.tokenizer.convert_tokens_to_ids("###"),
    ]

    result = pipeline(
        prompt,
        max_length=256,
        num_return_sequences=1,
        do_sample=False,
        eos_token_id=teminators,
        pad_token_id=pipeline.tokenizer.eos_token_id,
        truncation=True,
    )
    response = response_prefix + result[0]["generated_text"][len(prompt) :].split("###")[0].rstrip()
    return response

instruction = "Write a quicksort function in Python with type hints and a 'less_than' parameter for custom sorting criteria."
response_prefix = ""
print(respond(instruction, response_prefix))
"""

# As the fine-tuned tokenizer has it: one turn behind a sentence of its own, and the answer's heading at the end.
SYSTEM = "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses to user instructions."
TEMPLATE = (
    "{{ bos_token }}"
    + SYSTEM
    + "\n\n{% for message in messages %}### Instruction\n{{ message['content'] }}\n\n{% endfor %}"
    "{{ '### Response\n' }}"
)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    monkeypatch.chdir(tmp_path)


def checkpoint(name: str, family: str, *, like: str | None = None, dtype: torch.dtype = torch.float32) -> Vocabulary:
    """A tiny random model of a published name in the working folder. It says no control, since it would say every one.

    Nor does it say `###`, except where the token `like` would be next.
    """
    words = bpe.train([*CORPUS, *[GPTEACHER, INSTRUCT, SYSTEM] * 2], vocab_size=700, family=family)
    end = words.end_of_document
    shape: ModelConfig
    if family == "starcoder2":
        shape = Starcoder2Config(
            vocab_size=words.rows, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, sliding_window=16, tie_word_embeddings=False,
            initializer_range=0.3, bos_token_id=end, eos_token_id=end,
        )  # fmt: skip
    else:
        shape = GPTBigCodeConfig(
            vocab_size=words.rows, n_positions=2048, n_embd=48, n_layer=2, n_head=4, tie_word_embeddings=False,
            initializer_range=0.3, bos_token_id=end, eos_token_id=end,
        )  # fmt: skip
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    model = new_model(shape, dtype=dtype)
    head = model.get_parameter("lm_head.weight").data
    head[torch.from_numpy(words.control_mask.nonzero()[0])] = 0  # a logit of 0, and the largest is above that
    head[words.size :] = 0  # SantaCoder's padding rows, which are trained to be as unlikely
    [hashes] = words.encode("###")
    head[hashes] = 0 if like is None else 1.1 * head[words.encode(like)].mean(dim=0)
    save_model(model, folder)
    words.save(folder)
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": end, "eos_token_id": end, "max_new_tokens": NEW_TOKENS})
    )
    return words


def run(program: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a program has defined when it has run."""
    names = {} if names is None else names
    exec(compile(program, "model card", "exec"), names)
    return names


def assert_same(ours: Completion, names: dict[str, Any]) -> None:
    """The tokens behind the prompt."""
    assert ours.tokens == tuple(names["outputs"][0][len(names["inputs"][0]) :].tolist())
    assert len(ours.tokens) == NEW_TOKENS
    assert names["tokenizer"].decode(ours.tokens).startswith(ours.text)


PUBLISHED = {
    "bigcode/santacoder": ("santacoder", ", trust_remote_code=True"),
    "bigcode/starcoderbase-7b": ("starcoder", ""),
    "bigcode/starcoder2-3b": ("starcoder2", ""),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_snippets_for_generation_and_infilling(name: str) -> None:
    family, remote = PUBLISHED[name]
    checkpoint(name, family)
    model = starloom.load(name, threads=1)
    theirs = run(GENERATE.format(name=name, remote=remote))
    assert_same(model.complete("def print_hello_world():", max_tokens=NEW_TOKENS), theirs)
    theirs = run(INFILL.format(h="-" if family == "santacoder" else "_"), theirs)
    gap = ("def print_hello_world():\n    ", "\n    print('Hello world!')")
    assert_same(model.infill(*gap, max_tokens=NEW_TOKENS), theirs)
    assert_same(model.complete(theirs["input_text"], raw=True, max_tokens=NEW_TOKENS), theirs)


def test_the_snippet_of_the_fine_tuned_model() -> None:
    name = "GeorgiaTechResearchInstitute/starcoder-gpteacher-code-instruct"
    checkpoint(name, "starcoder", dtype=torch.float16)
    model = starloom.load(name, threads=1, dtype="float16")
    theirs = run(GPTEACHER)
    assert_same(model.complete(theirs["prompt"], max_tokens=NEW_TOKENS), theirs)


@pytest.mark.parametrize("response_prefix", ["", "```python\ndef"])
def test_the_snippet_of_the_instructed_model(response_prefix: str) -> None:
    name = "bigcode/starcoder2-15b-instruct-v0.1"
    folder = Path(name)

    def answers(like: str | None = None) -> tuple[str, Completion]:
        words = checkpoint(name, "starcoder2", like=like, dtype=torch.bfloat16)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "generation_config.json").unlink()  # this snippet says itself how long
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": TEMPLATE}))
        theirs = run(INSTRUCT)
        prompt = f"{SYSTEM}\n\n### Instruction\n{theirs['instruction']}\n\n### Response\n"
        length = 1 + len(words.encode(prompt + response_prefix))
        ours = starloom.load(name, threads=1, dtype="bfloat16").complete(
            prompt, response_prefix=response_prefix, new_document=True, stop_tokens=["###"], stop=["###"],
            max_tokens=256 - length,
        )  # fmt: skip
        return theirs["respond"](theirs["instruction"], response_prefix), ours

    theirs, ours = answers()
    assert theirs == ours.text.rstrip()
    assert len(ours.tokens) >= 8
    spoken = [text for text in map(Vocabulary.load(folder).decode, zip(ours.tokens, strict=True)) if text.isascii()]
    theirs, ours = answers(like=spoken[len(spoken) // 2])
    assert theirs == ours.text.rstrip()
    assert ours.stopped_by == "###"
    assert Vocabulary.load(folder).encode("###")[0] not in ours.tokens  # it ended the answer
