"""Initial weights as a function of (seed, parameter name): the same on every machine, in any order, on any threads."""

from __future__ import annotations

import hashlib

import numpy as np


def normal(seed: int, name: str, shape: tuple[int, ...], std: float) -> np.ndarray:
    """float32 draws from N(0, std²) by a Philox generator keyed with the seed and the parameter's name."""
    key = hashlib.blake2b(name.encode(), digest_size=16, key=seed.to_bytes(8, "little", signed=True)).digest()
    generator = np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8")))
    draws = generator.standard_normal(shape, dtype=np.float32)
    draws *= np.float32(std)
    return draws
