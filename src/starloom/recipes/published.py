"""The published runs as data: what each was trained with, and what was said of it, value by value with its source.

Sources in short: *script*, the launch scripts in examples/ of bigcode-project/Megatron-LM; *card*, the model's card on the
Hugging Face hub; *report*, the paper of the model (SantaCoder arXiv 2301.03988, StarCoder 2305.06161, StarCoder2 2402.19173,
SelfCodeAlign 2410.24198). A figure that is not `verified` ([M] in tables) was not seen in its source by us.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from starloom.models import presets
from starloom.models.config import ModelConfig, Starcoder2Config
from starloom.tokens.fim import FIM
from starloom.train.devices import HARDWARE
from starloom.train.memory import Layout
from starloom.train.plan import Plan, Run
from starloom.train.schedule import Schedule
from starloom.train.settings import Adafactor, AdamW

What = Literal["parameters", "tokens", "steps", "flops", "days", "device_hours", "tokens_per_device_second"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that was published of a run."""

    what: What
    value: float
    printed: str  # as it was printed
    source: str
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Published:
    """A published run: its settings, the devices it ran on as far as they are known, and what was said of it."""

    name: str
    about: str
    run: Run
    hardware: str  # a name in train.devices.HARDWARE
    layout: Layout
    figures: tuple[Figure, ...]
    start: str | None = None  # the run whose weights it goes on from
    unknown: tuple[str, ...] = ()  # what no source says and the plan assumes, in words

    @property
    def plan(self) -> Plan:
        """The run on the devices that it ran on; `.plan.pretrain()` are the settings of `Pretrain` at paper scale."""
        return Plan(self.run, HARDWARE[self.hardware], self.layout)


def _adamw(lr: float) -> AdamW:
    """script: Adam, beta2 .95 and weight decay .1; beta1 .9 and eps 1e-8 are Megatron's defaults."""
    return AdamW(lr=lr, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)


def _steps(steps: int) -> Figure:
    return Figure("steps", steps, f"{steps // 1000}k", "card")


# --- SantaCoder: script pretrain_gpt_1B_santacoder.sh. It runs 300,000 of 600,000 steps for the experiments; the final model
# the whole 600,000 (card: twice as long as the others).
_SANTACODER = Run(
    model=presets.SANTACODER,
    context=2048,
    batch=192,
    steps=600_000,
    optimizer=_adamw(2e-4),
    schedule=Schedule("cosine", warmup=0.02, floor=0.0),  # no --min-lr: Megatron's default is 0
    precision="fp16",  # --fp16 --initial-loss-scale 65536
    fim=FIM(0.5, 0.5),  # --fim-rate 0.5; --fim-spm-rate is .5 by default
    clip=1.0,
    save_every=4000,
)
_SANTACODER_LAYOUT = Layout(
    devices=96,  # 12 nodes of 8
    micro_batch=2,
    numbers="fp16",
    recompute="selective",  # --recompute-activations: of attention, none of the layers' other parts
    scores_kept=True,  # no --use-flash-attn
)
_V100 = ("V100s come with 16 and with 32 GB, as SXM2 (125 TFLOP/s) and PCIe (112); no source says which they were",)


def _variant(name: str, about: str, run: Run) -> Published:
    return Published(
        f"santacoder-{name}", about, run, "v100-32gb", _SANTACODER_LAYOUT,
        (Figure("tokens", 118e9, "118B", "card: half of the final model's 236B"),), unknown=_V100,
    )  # fmt: skip


_EXPERIMENT = replace(_SANTACODER, steps=300_000, schedule=replace(_SANTACODER.schedule, length=600_000))
_SANTACODERS = (
    Published(
        "santacoder", "revisions final and main: stronger near-deduplication and comments, twice the steps",
        _SANTACODER, "v100-32gb", _SANTACODER_LAYOUT,
        (
            Figure("parameters", 1.1e9, "1.1B", "card"),
            Figure("tokens", 236e9, "236B", "card"),
            _steps(600_000),
            Figure("flops", 2.1e21, "2.1 x 10e21", "card; 2.1e21 is meant"),
            Figure("days", 6.2, "6.2 days", "card: 96 Tesla V100"),
        ),
        unknown=_V100,
    ),
    _variant("mha", "multi-head attention", replace(_EXPERIMENT, model=presets.SANTACODER_MHA)),
    _variant("no-fim", "no fill-in-the-middle", replace(_EXPERIMENT, fim=FIM(0.0, 0.5))),
    _variant("fim", "the base of the experiments", _EXPERIMENT),
    _variant("stars", "other data: repositories with stars", _EXPERIMENT),
    _variant("fertility", "other data: by characters a token", _EXPERIMENT),
    _variant("comments", "other data: by comments", _EXPERIMENT),
    _variant("dedup-alt", "other data: stronger near-deduplication", _EXPERIMENT),
)  # fmt: skip
VARIANTS: Final = ("mha", "no-fim", "fim", "stars", "fertility", "comments", "dedup-alt", "final")  # card, in its order


# --- StarCoderBase: scripts pretrain_bigcode_{1b,3b,7b,model}.slurm. Learning rates fall to a tenth (--min-lr).
def _base(model: ModelConfig, steps: int, batch: int, lr: float, save_every: int, warmup: int = 2000) -> Run:
    return Run(
        model=model,
        context=8192,
        batch=batch,
        steps=steps,
        optimizer=_adamw(lr),
        schedule=Schedule("cosine", warmup_steps=warmup, floor=0.1),
        precision="bf16",
        fim=FIM(0.5, 0.5),
        clip=1.0,
        save_every=save_every,
    )


_A100 = ("the A100s' memory: 80 GB is assumed, as StarCoderBase-15B had",)
_15B = Layout(512, tensor=4, pipeline=4, sequence=True, numbers="bf16")  # 64 nodes of 8, micro-batch 1
_TRILLION = Figure("tokens", 1e12, "1T", "card")
_STARCODERS = (
    Published(
        "starcoderbase-1b", "80+ languages", _base(presets.STARCODERBASE_1B, 1_000_000, 128, 4e-4, 10_000),
        "a100-80gb", Layout(128, numbers="bf16"), (_TRILLION,), unknown=_A100,
    ),
    Published(
        "starcoderbase-3b", "80+ languages", _base(presets.STARCODERBASE_3B, 500_000, 256, 5e-4, 5000),
        "a100-80gb", Layout(256, shard="optimizer", numbers="bf16"), (_TRILLION,),
        unknown=_A100,
    ),
    Published(
        "starcoderbase-7b", "80+ languages", _base(presets.STARCODERBASE_7B, 250_000, 512, 3e-4, 2500),
        "a100-80gb", Layout(512, tensor=2, shard="optimizer", numbers="bf16"),
        (Figure("parameters", 7e9, "7B", "card"), _TRILLION, _steps(250_000)), unknown=_A100,
    ),
    Published(
        "starcoderbase-15b", "80+ languages", _base(presets.STARCODERBASE_15B, 250_000, 512, 3e-4, 2500),
        "a100-80gb", replace(_15B, shard="optimizer"),
        (
            Figure("parameters", 15.5e9, "15.5B", "card"),
            _TRILLION,
            _steps(250_000),
            # the card of bigcode/starcoder as its discussion 37 quotes it; A100 80 GB: report
            Figure("days", 24, "24 days", "card of starcoder: 512 Tesla A100", verified=False),
        ),
    ),
    Published(  # script finetune_bigcode_model.slurm: --train-iters 258500 --lr-decay-iters 8500 --finetune
        "starcoder", "StarCoderBase-15B continued on Python", _base(presets.STARCODERBASE_15B, 8500, 512, 5e-5, 2500, 500),
        "a100-80gb", _15B,
        (
            Figure("tokens", 35e9, "35B", "report: two epochs of Python"),
            Figure("device_hours", 10_000, "~10k", "an author in discussion 37 of bigcode/starcoder"),
        ),
        start="starcoderbase-15b",
    ),
    Published(  # script finetune_starcoderplus.slurm: --train-iters 400000 --lr-decay-iters 150000 --finetune
        "starcoderplus", "StarCoderBase-15B continued on English and code",
        _base(presets.STARCODERBASE_15B, 150_000, 512, 1e-4, 2500, 1000), "a100-80gb", _15B,
        (Figure("tokens", 600e9, "600B", "BigCode's collection of StarCoder models"),),
        start="starcoderbase-15b",
    ),
)  # fmt: skip

# --- The GPTeacher fine-tune: card. Pairs: Codegen/codegen-instruct.json of teknium1/GPTeacher. The card has context 1024,
# three epochs, 2e-5, FSDP, 8 A100, 5 hours; batch 128, warm-up .03, cosine and no weight decay are those of Stanford
# Alpaca's own recipe, whose prompts it takes (inferred).
GPTEACHER_PAIRS: Final = 4535
GPTEACHER_BYTES: Final = (
    2_664_336  # UTF-8 bytes of all pairs in Alpaca's prompt, response included; measured on that file
)
_GPTEACHER = Published(
    "starcoder_gpteacher", "StarCoder fine-tuned on GPTeacher's code instructions",
    Run(
        model=presets.STARCODERBASE_15B,
        context=1024,
        batch=128,
        steps=3 * (GPTEACHER_PAIRS // 128),  # whole batches, as transformers' Trainer counts steps
        optimizer=AdamW(lr=2e-5, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0),  # moments: Trainer's defaults
        schedule=Schedule("cosine", warmup=0.03),
        precision="bf16",
        fim=FIM(0.0, 0.0),
        clip=1.0,
        padded=3 * GPTEACHER_PAIRS * 1024,
    ),
    "a100-80gb", Layout(8, shard="full", numbers="autocast"),
    (Figure("days", 5 / 24, "5 hours", "card: 8 Tesla A100"),),
    start="starcoder",
    unknown=(
        "the A100s' memory, the micro-batch, and what the five hours hold besides steps (loading, saving, evaluation)",
        f"tokens: at most {3 * GPTEACHER_PAIRS * 1024:,} if each pair were padded to 1,024; its pairs hold "
        f"{GPTEACHER_BYTES / GPTEACHER_PAIRS:.0f} bytes each, so about {GPTEACHER_BYTES / 3 / GPTEACHER_PAIRS:.0f} tokens "
        "at three bytes a token",
    ),
)  # fmt: skip


# --- StarCoder2: report. Trained on 4,096 tokens, then on 200B more at 16,384 with windows of 4,096. Rates, batches, steps
# and FLOPs are recalled from its table of hyperparameters and were not looked up; that 3B saw 3.1T and 200B tokens, and that
# 15B ran on 1,024 H100, is in the histories of their cards.
def _starcoder2(model: Starcoder2Config, steps: int, batch: int) -> Run:
    return Run(
        model=model,
        context=4096,
        batch=batch,
        steps=steps,
        optimizer=_adamw(3e-4),
        schedule=Schedule("cosine", warmup_steps=1000, floor=0.1),
        precision="bf16",
        fim=FIM(0.5, 0.5),
        clip=1.0,
    )


_UNSEEN = ("learning rate, batch and steps are recalled [M]; how it lay on its devices is not known, and assumed",)
_STARCODER2S = (
    Published(
        "starcoder2-3b", "17 languages, before the long-context phase",
        _starcoder2(presets.STARCODER2_3B, 1_200_000, 640), "a100-80gb", Layout(160, shard="optimizer", numbers="bf16"),
        (
            Figure("parameters", 3e9, "3B", "card"),
            Figure("tokens", 3.1e12, "3.1T", "first commit of the card"),
            Figure("flops", 5.94e22, "5.94e22", "report, as 6ND", verified=False),
            Figure("tokens_per_device_second", 10_000, "10,000", "docs/success-stories/starcoder-2.md of Fast-LLM"),
        ),
        unknown=(*_UNSEEN, "the number of A100s: 160 is recalled [M]"),
    ),
    Published(
        "starcoder2-7b", "17 languages, before the long-context phase",
        _starcoder2(presets.STARCODER2_7B, 1_000_000, 864), "h100-sxm", Layout(432, shard="optimizer", numbers="bf16"),
        (
            Figure("parameters", 7e9, "7B", "card"),
            Figure("tokens", 3.5e12, "3.5T", "card", verified=False),
            Figure("flops", 1.55e23, "1.55e23", "report, as 6ND", verified=False),
        ),
        unknown=(*_UNSEEN, "the number of H100s: 432 is recalled [M]"),
    ),
    Published(
        "starcoder2-15b", "600+ languages, before the long-context phase",
        _starcoder2(presets.STARCODER2_15B, 1_000_000, 1024), "h100-sxm",
        Layout(1024, tensor=4, sequence=True, shard="optimizer", numbers="bf16"),
        (
            Figure("parameters", 15e9, "15B", "card"),
            Figure("tokens", 4.1e12, "4.1T", "report", verified=False),
            Figure("flops", 3.87e23, "3.87e23", "report, as 6ND", verified=False),
        ),
        unknown=_UNSEEN,
    ),
)  # fmt: skip


# --- StarCoder2-15B-Instruct: card (Adafactor, 1e-5, 4 epochs, batch 64, warm-up .05, linear, 1,280, no dropout, one A100
# 80 GB); train.py of bigcode-project/starcoder2-self-align: batch 1 × 64 accumulated, bfloat16, gradients not clipped.
SELFALIGN_PAIRS: Final = 50_000  # report: 50k
_INSTRUCT = Published(
    "starcoder2_instruct", "StarCoder2-15B fine-tuned on its own instructions",
    Run(
        model=replace(
            presets.STARCODER2_15B, attention_dropout=0.0, residual_dropout=0.0, embedding_dropout=0.0
        ),
        context=1280,
        batch=64,
        steps=4 * (SELFALIGN_PAIRS // 64),
        optimizer=Adafactor(lr=1e-5),
        schedule=Schedule("linear", warmup=0.05),
        precision="bf16",
        fim=FIM(0.0, 0.0),
        clip=None,
        padded=4 * SELFALIGN_PAIRS * 1280,
    ),
    "a100-80gb", Layout(1, numbers="pure"), (), start="starcoder2-15b",
    unknown=("hours of training; pairs are not packed, so most have fewer tokens than the 1,280 that are counted here",),
)  # fmt: skip

PUBLISHED: Final[dict[str, Published]] = {
    one.name: one for one in (*_SANTACODERS, *_STARCODERS, _GPTEACHER, *_STARCODER2S, _INSTRUCT)
}
