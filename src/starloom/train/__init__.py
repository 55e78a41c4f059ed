"""LOGITS → WEIGHTS: the training loop and what it is made of. Torch is imported when a stage is built."""

from starloom.train.budget import Budget, Minutes, Steps, Tokens
from starloom.train.keep import Keep
from starloom.train.pretrain import Pretrain
from starloom.train.schedule import Schedule
from starloom.train.settings import Adafactor, AdamW, Heldout, LossScale, Muon, Spike

__all__ = [
    "Adafactor",
    "AdamW",
    "Budget",
    "Heldout",
    "Keep",
    "LossScale",
    "Minutes",
    "Muon",
    "Pretrain",
    "Schedule",
    "Spike",
    "Steps",
    "Tokens",
]
