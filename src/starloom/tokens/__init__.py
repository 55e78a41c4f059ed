"""Document → training token: control tokens, byte-level BPE, packing, fill-in-the-middle, batches and the way back."""

from starloom.tokens.blend import Blend
from starloom.tokens.bpe import TrainBPE, Vocabulary
from starloom.tokens.census import Census
from starloom.tokens.dataset import Dataset
from starloom.tokens.fertility import Fertility
from starloom.tokens.fim import FIM
from starloom.tokens.pack import Pack

__all__ = ["FIM", "Blend", "Census", "Dataset", "Fertility", "Pack", "TrainBPE", "Vocabulary"]
