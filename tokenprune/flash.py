"""Flash attention and position ids with gaps.

transformers' flash path takes gaps between position ids for borders of packed sequences when there is one row, no mask
and a cache that is not empty (chunked prefill, a second turn), and then attends to the wrong keys without an error. The
rotary embedding is computed before the layers run, so they can do without the ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tokenprune.family import Family, Model, submodule


@contextmanager
def positions_hidden(family: Family, model: Model, policy: str) -> Iterator[None]:
    """Hide position ids from the language model's layers, where they may have gaps and flash attention reads them."""
    language = submodule(model.base_model, family.language_model)
    with ExitStack() as stack:
        if policy == "keep" and "flash" in (language.config._attn_implementation or ""):
            for layer in language.layers:
                stack.callback(layer.register_forward_pre_hook(_hide, with_kwargs=True).remove)
        yield


def _hide(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if "position_embeddings" in kwargs:  # None for a layer that has no rotary embedding
        kwargs = {**kwargs, "position_ids": None}
    return args, kwargs
