"""Keys and values of the sequences that are being decoded: one buffer a sequence, grown as it grows.

A multi-query model keeps one head, a grouped one a few. All keys are kept, also where a window hides them: a sequence can be
cut back to any length. Sequences of any lengths step together: their new tokens lie one after another, without
padding, and each attends to its own buffer.
"""

# N query heads, K key/value heads, H head size, L layers, C tokens that a buffer holds,
# R rows: the new tokens of all sequences of a step, one sequence after another

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from starloom.errors import GenerationError
from starloom.models.attention import Block, attend, blocks

_FIRST_TOKENS: Final = 128  # our choice; a buffer doubles from here up to the model's context


@dataclass(slots=True)
class _Sequence:
    kv_L2KCH: Tensor
    length: int = 0

    @property
    def capacity(self) -> int:
        return self.kv_L2KCH.shape[3]


class Cache:
    """Key/value buffers by slot, a number of the caller's choosing. A slot exists from its first use until it is freed."""

    def __init__(
        self,
        *,
        layers: int,
        kv_heads: int,
        head_size: int,
        context: int,
        dtype: torch.dtype,
        device: torch.device,
        window: int | None = None,
    ) -> None:
        self.context = context  # the longest sequence that the model knows positions for
        self.window = window  # tokens that one attends to; None: all before it
        self.dtype, self.device = dtype, device
        self._shape = (layers, 2, kv_heads, head_size)
        self._sequences: dict[int, _Sequence] = {}

    def length(self, slot: int) -> int:
        """Tokens that the slot holds; 0 for one that is free."""
        sequence = self._sequences.get(slot)
        return 0 if sequence is None else sequence.length

    def slots(self) -> list[int]:
        """The slots in use."""
        return list(self._sequences)

    def truncate(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens. Raises GenerationError when the slot holds fewer."""
        self._check_prefix(slot, length)
        if slot in self._sequences:
            self._sequences[slot].length = length

    @torch.inference_mode()
    def share(self, source: int, slot: int, length: int) -> None:
        """Make `slot`, whatever it held, begin with the first `length` tokens of `source`; the two are independent after.

        Raises GenerationError when the source holds fewer.
        """
        self._check_prefix(source, length)
        if source == slot:
            self.truncate(slot, length)
            return
        self.free(slot)
        if length:
            self._grow(slot, length)
            self._sequences[slot].kv_L2KCH[..., :length, :] = self._sequences[source].kv_L2KCH[..., :length, :]
            self._sequences[slot].length = length

    def free(self, slot: int) -> None:
        """Give the slot's memory back; freeing a free slot does nothing."""
        self._sequences.pop(slot, None)

    @property
    def size_bytes(self) -> int:
        """Memory that the buffers take."""
        return sum(sequence.kv_L2KCH.nbytes for sequence in self._sequences.values())

    @torch.inference_mode()
    def extend(self, new: Iterable[tuple[int, int]]) -> Past:
        """Room for (slot, number of new tokens) of each sequence of a step, and the view that its layers attend through.

        The lengths change when the step ends, by `Past.finish`, so that a step that fails leaves the cache as it was.
        Raises GenerationError for a slot named twice, no new tokens, or a sequence beyond the context.
        """
        pairs = list(new)
        for slot, count in pairs:
            if count < 1:
                raise GenerationError(f"no new tokens for slot {slot}; a step takes at least one for each sequence")
            if self.length(slot) + count > self.context:
                raise GenerationError(
                    f"{self.length(slot)} tokens and {count} more exceed the model's context of {self.context}; "
                    "shorten the prompt or ask for fewer new tokens"
                )
        if len({slot for slot, _ in pairs}) < len(pairs):
            raise GenerationError(
                f"a slot stands twice in {[slot for slot, _ in pairs]}; a step takes each sequence once"
            )
        for slot, count in pairs:
            self._grow(slot, self.length(slot) + count)
        return Past([(self._sequences[slot], count) for slot, count in pairs], self.window, self.device)

    def _grow(self, slot: int, tokens: int) -> None:
        sequence = self._sequences.get(slot)
        if sequence is not None and sequence.capacity >= tokens:
            return
        capacity = _FIRST_TOKENS
        while capacity < tokens:
            capacity *= 2
        layers, two, heads, size = self._shape
        shape = (layers, two, heads, min(capacity, self.context), size)
        larger = torch.empty(shape, dtype=self.dtype, device=self.device)
        if sequence is None:
            self._sequences[slot] = _Sequence(larger)
        else:
            larger[..., : sequence.length, :] = sequence.kv_L2KCH[..., : sequence.length, :]
            sequence.kv_L2KCH = larger

    def _check_prefix(self, slot: int, length: int) -> None:
        if not 0 <= length <= self.length(slot):
            raise GenerationError(f"slot {slot} holds {self.length(slot)} tokens, so it has no first {length}")


class _Single(NamedTuple):
    """One new token of a sequence: its row, and by layer the keys and values that it sees and where its own go."""

    row: int
    keys: list[tuple[Tensor, Tensor, Tensor]]  # [1, K, S, H], [1, K, S, H], [2, K, H]


class _Several(NamedTuple):
    """New tokens of a sequence: their rows, the first and the end in the sequence, and how they are computed."""

    sequence: _Sequence
    rows: slice
    start: int
    end: int
    parts: list[Block]


class Past:
    """What one step's new tokens attend to: their own sequences, before them and up to themselves."""

    def __init__(self, rows: Sequence[tuple[_Sequence, int]], window: int | None, device: torch.device) -> None:
        self._singles: list[_Single] = []
        self._several: list[_Several] = []
        self._ends: list[tuple[_Sequence, int]] = []
        row = 0
        for sequence, count in rows:
            start, end = sequence.length, sequence.length + count
            parts = blocks(count, end, window, device)
            if count == 1:  # the views of all layers at once: taking them one by one costs as much as the attention
                seen_L21KSH = sequence.kv_L2KCH[:, :, None, :, parts[0].keys]
                own_L2KH = sequence.kv_L2KCH[:, :, :, start]
                layers = zip(seen_L21KSH.unbind(), own_L2KH.unbind(), strict=True)
                self._singles.append(_Single(row, [(seen[0], seen[1], own) for seen, own in layers]))
            else:
                self._several.append(_Several(sequence, slice(row, row + count), start, end, parts))
            self._ends.append((sequence, end))
            row += count
        self.positions_R = torch.cat([torch.arange(sequence.length, end) for sequence, end in self._ends]).to(device)

    def attend(self, layer: int, q_RNH: Tensor, k_RKH: Tensor, v_RKH: Tensor, scale: float) -> Tensor:
        """Store the new keys and values of a layer and return what their queries see, [R, N, H]."""
        y_RNH = torch.empty_like(q_RNH)
        kv_R2KH = torch.stack((k_RKH, v_RKH), 1) if self._singles else None
        for row, keys in self._singles:
            assert kv_R2KH is not None
            k_1KSH, v_1KSH, own_2KH = keys[layer]
            own_2KH.copy_(kv_R2KH[row])
            q_1KGH = q_RNH[row].reshape(
                1, k_1KSH.shape[1], -1, q_RNH.shape[2]
            )  # the queries of a key head are its rows
            y_1KGH = F.scaled_dot_product_attention(q_1KGH, k_1KSH, v_1KSH, scale=scale)
            y_RNH[row] = y_1KGH.view(q_RNH.shape[1:])
        for sequence, rows, start, end, parts in self._several:
            k_KCH, v_KCH = sequence.kv_L2KCH[layer, :, :, :end]
            k_KCH[:, start:] = k_RKH[rows].transpose(0, 1)
            v_KCH[:, start:] = v_RKH[rows].transpose(0, 1)
            q_NTH = q_RNH[rows].transpose(0, 1)
            y_RNH[rows] = attend(q_NTH[None], k_KCH[None], v_KCH[None], scale, parts)[0].transpose(0, 1)
        return y_RNH

    def finish(self) -> None:
        """The step is done: the sequences now hold its tokens."""
        for sequence, end in self._ends:
            sequence.length = end
