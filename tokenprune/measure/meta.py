"""Running a model that was laid out without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class _OnMeta(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Without it an operation on a real tensor and one without values is an error."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation, all of its tensors on one device."""
        given = (args, dict(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        if any(one.is_meta for one in tensors) and not all(one.is_meta or not one.ndim for one in tensors):
            given = tree_map_only(Tensor, lambda one: one.to("meta"), given)
        return func(*given[0], **given[1])


def running_without_weights() -> AbstractContextManager[Any]:
    """Sizes of images and windows stay real, so that they can be read, until they meet what has no values."""
    return _OnMeta()  # type: ignore[no-untyped-call]


def on_meta(value: Any, dtype: torch.dtype) -> Any:
    """A tensor of numbers without its values, in a model's dtype; whole numbers, such as sizes, stay."""
    return value.to("meta", dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def real(value: Tensor, generator: torch.Generator, positive: bool = False) -> Tensor:
    """A random tensor [...] float32 of the same shape, on the host.

    Args:
        value: the tensor.
        generator: what draws it.
        positive: from 0 to 1, as attention is; else from a normal distribution.
    """
    draw = torch.rand if positive else torch.randn
    return draw(value.shape, generator=generator)
