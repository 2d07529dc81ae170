"""Encode a batch once where several pipelines choose from it in turn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

_SHELF: ContextVar[dict[Hashable, tuple[Any, Any]] | None] = ContextVar("tokenprune_encodings", default=None)


@contextmanager
def encoding_once() -> Iterator[None]:
    """Inside the block the same tensors go through the same encoder once for each set of cues, in this thread.

    For comparing pipelines: results are those without it to the bit, because what a pipeline chooses from is what it
    would have been given. The same means the same objects; neither they nor the weights may change inside the block.
    Everything is forgotten at its end.
    """
    token = _SHELF.set({})
    try:
        yield
    finally:
        _SHELF.reset(token)


def once(encoder: Any, cues: Mapping[str, str], arguments: Mapping[str, Any], run: Callable[[], Any]) -> Any:
    """What ``run`` gives, from the shelf if it has given it before; outside of `encoding_once` it always runs.

    Args:
        encoder: what runs; the method of a model.
        cues: what is read on its way, which decides what else it gives.
        arguments: what it is given. Tensors are told apart by identity, everything else by its text.
        run: runs it.
    """
    shelf = _SHELF.get()
    if shelf is None:
        return run()
    told = ((name, id(value) if isinstance(value, Tensor) else repr(value)) for name, value in arguments.items())
    key = (encoder, tuple(sorted(cues.items())), tuple(sorted(told)))
    if key not in shelf:
        shelf[key] = (dict(arguments), run())  # held on to, so that no other tensor can get the same identity
    return shelf[key][1]
