"""What a trained model is worth: held-out bits per byte beside compressors, infilling exact match, and samples to read."""

from starloom.evals.compare import Compare
from starloom.evals.held_out import HeldOut
from starloom.evals.infilling import Infilling
from starloom.evals.samples import Samples

__all__ = ["Compare", "HeldOut", "Infilling", "Samples"]
