"""Document → training token: control tokens, byte-level BPE, packing, fill-in-the-middle, batches and the way back."""

from starloom.tokens.blend import Blend
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.census import Census
from starloom.tokens.dataset import Dataset
from starloom.tokens.fertility import Fertility
from starloom.tokens.fim import FIM
from starloom.tokens.pack import Pack
from starloom.tokens.taken_bpe import TakenBPE
from starloom.tokens.train_bpe import TrainBPE

__all__ = ["FIM", "Blend", "Census", "Dataset", "Fertility", "Pack", "TakenBPE", "TrainBPE", "Vocabulary"]
