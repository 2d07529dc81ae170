"""FLOPs that a block of code runs: one multiply-accumulate counts as two, attention as dense whatever its mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


class Counted:
    """FLOPs of a block so far."""

    def __init__(self, mode: FlopCounterMode):
        self._mode = mode

    @property
    def total(self) -> int:
        """All of them."""
        return self._mode.get_total_flops()

    @property
    def by_module(self) -> dict[str, int]:
        """FLOPs of each module that ran, by its path below the outermost one's class: ``"Llava.model.projector"``."""
        counts = self._mode.get_flop_counts().items()
        return {name: sum(ops.values()) for name, ops in counts if name != "Global"}


@contextmanager
def flops() -> Iterator[Counted]:
    """Count the FLOPs of everything that runs inside the block, on any device, ``meta`` included.

    Kernels that torch does not know, such as flash attention from a package of its own, count as nothing: measure with
    SDPA or eager attention.
    """
    with FlopCounterMode(display=False, custom_mapping=_missing()) as mode:
        yield Counted(mode)


def _missing() -> dict[Any, Any]:
    """Torch has no formula for the attention kernel of CPUs, nor for experts side by side: they count as nothing."""
    experts = [(torch.ops.aten, "_grouped_mm"), (torch.ops.transformers, "grouped_mm_fallback")]  # by version
    grouped = {getattr(space, name): _grouped for space, name in experts if hasattr(space, name)}
    return {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention, **grouped}


def _grouped(tokens: Any, experts: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Shapes [T, C] and [E, C, D]; every token goes to one expert, and comes once for each of its experts."""
    return int(2 * tokens[0] * tokens[1] * experts[-1])


def _attention(query: Any, key: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Shapes [B, H, Q, d] and [B, Hkv, K, d]; two matrix products for each head of the queries."""
    batch, heads, count, width = query
    return int(2 * 2 * batch * heads * count * key[2] * width)
