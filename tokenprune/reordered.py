"""A cache whose rows are picked or put in another order takes along what it remembers of their prompts."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import Tensor

_MARK = "_tokenprune_"  # before the name of whatever a cache remembers


def pick(part: Tensor, rows: Any, axis: int = 0) -> Tensor:
    """Some rows of a tensor along an axis; ``rows`` is what `Cache.batch_select_indices` takes."""
    rows = rows.to(part.device) if isinstance(rows, Tensor) else rows
    return part.movedim(axis, 0)[rows].movedim(0, axis)


def follow(cache: Any) -> None:
    """From now on let what a cache remembers follow its rows; it lives in attributes that say how, `picked`."""
    for name, method in _METHODS.items():
        if hasattr(type(cache), name) and name not in vars(cache):
            setattr(cache, name, MethodType(method, cache))  # a copy of the cache gets a copy of this


def unfollow(cache: Any) -> None:
    """Leave a cache that remembers nothing any more as it was."""
    if not any(name.startswith(_MARK) for name in vars(cache)):
        for name in _METHODS.keys() & vars(cache).keys():
            delattr(cache, name)


def _following(name: str, cache: Any, rows: Any) -> None:
    """A method of a cache, and the same of all that it remembers.

    Raises:
        UnsupportedMode: it holds another number of rows than so many of each prompt.
    """
    count, found = _rows(cache), {}
    for key, memory in vars(cache).items():
        if key.startswith(_MARK):
            many = memory if isinstance(memory, tuple) else (memory,)
            every = tuple(one.repeated(count).picked(rows) for one in many)
            found[key] = every if isinstance(memory, tuple) else every[0]
    getattr(type(cache), name)(cache, rows)
    vars(cache).update(found)


def _rows(cache: Any) -> int:
    """Sequences that a cache holds."""
    held = (getattr(layer, "keys", None) for layer in cache.layers if layer.is_initialized)
    return next(len(keys) for keys in held if isinstance(keys, Tensor) and keys.numel())


def _method(name: str) -> Callable[..., None]:
    def method(cache: Any, rows: Any) -> None:
        _following(name, cache, rows)

    return method


_METHODS = {name: _method(name) for name in ("batch_select_indices", "reorder_cache")}
