"""How much a choice computes, and how much a language model of 7B parameters computes on what it chose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tokenprune.measure.flops import flops

WIDTH, INNER, LAYERS, VOCABULARY, TEXT = 4096, 11008, 32, 32000, 64  # LLaMA-7B, and words besides the image
_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")  # `flops` counts these


class _Elements(TorchDispatchMode):
    """One for each element of the largest tensor that an operation other than a product or a view touches."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **kwargs or {})
        name = func.overloadpacket.__name__
        if name == "_embedding_bag_forward_only":  # a product of two for each entry of each vector that is summed
            self.total += 2 * args[1].numel() * args[0].shape[1]
        elif name not in _PRODUCTS and not func.is_view and not name.startswith("empty"):
            sizes = [one.numel() for one in tree_leaves((args, kwargs, found)) if isinstance(one, Tensor)]
            self.total += max(sizes, default=0)
        return found


def counted(run: Callable[[], object]) -> int:
    """FLOPs: two for each multiply-accumulate of a product, one for each element of everything else."""
    with flops() as products:
        run()
    with _Elements() as elements:
        run()
    return products.total + elements.total


def prefill(tokens: int) -> int:
    """FLOPs of a 7B language model on a prompt of so many visual tokens and 64 words; attention as dense."""
    length = tokens + TEXT
    weights = LAYERS * (4 * WIDTH * WIDTH + 3 * WIDTH * INNER)
    return 2 * weights * length + LAYERS * 4 * length**2 * WIDTH + 2 * WIDTH * VOCABULARY


def reads_back(run: Callable[[], object]) -> bool:
    """Whether a run on tensors without values fails, because it asks the device for one."""
    try:
        run()
    except (RuntimeError, NotImplementedError):
        return True
    return False


def without_values(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.empty_like(one, device="meta") for name, one in tensors.items()}
