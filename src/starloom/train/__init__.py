"""LOGITS → WEIGHTS: the training loop and what it is made of. Torch is imported when a stage is built."""

from starloom.train.budget import Budget, Minutes, Steps, Tokens
from starloom.train.pretrain import Pretrain
from starloom.train.schedule import Schedule
from starloom.train.settings import Adafactor, AdamW, Heldout, LossScale, Muon

__all__ = ["Adafactor", "AdamW", "Budget", "Heldout", "LossScale", "Minutes", "Muon", "Pretrain", "Schedule", "Steps", "Tokens"]
