"""The encoder's output without the rows that were dropped, in the container the model's own code expects."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from math import gcd
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from tokenprune.selection import Merge


def pieces_of(output: Any, field: str) -> list[Tensor]:
    """The feature rows of an encoder's output, [L, C] each, in the order in which they fill placeholders.

    Args:
        output: the encoder's output.
        field: its field that holds them; where that is a list of streams (layer, rows), the first one counts.
    """
    found = output[field]
    if isinstance(found[0], tuple):
        found = found[0][1]
    return [piece.reshape(-1, piece.shape[-1]) for piece in found]


def short_features(given: Any, field: str, rows: Tensor, room: list[int], merge: Merge | None = None) -> Any:
    """The encoder's output without the dropped rows, in parts of which none holds rows of two prompts.

    So beams repeat what belongs together. A model that hands features on as a list gets one part for each prompt that
    keeps any; one that hands on a tensor gets parts of equal size, [P, rows, C]. Parallel streams are cut alike.

    Args:
        given: the encoder's output, with R feature rows.
        field: its field that holds them.
        rows: [R] bool, which of them stay.
        room: placeholders of each prompt.
        merge: what is folded into what, counted in feature rows; every stream is merged alike. None: nothing.

    Returns:
        An output of the same kind; None if no row stays.
    """
    if bool(rows.all()):
        return given
    spans = [(start, stop) for start, stop in _spans(room) if bool(rows[start:stop].any())]
    if not spans:
        return None

    def cut(features: Any) -> Any:
        if isinstance(features, tuple) and isinstance(features[0], int):  # the layer that this stream goes to
            return features[0], cut(features[1])
        flat = torch.cat([piece.reshape(-1, piece.shape[-1]) for piece in features])
        flat = flat[rows] if merge is None else merge.apply(flat, rows)
        parts = torch.split(flat, [int(rows[start:stop].sum()) for start, stop in spans])
        if isinstance(features, Tensor):
            return rearrange(torch.cat(parts), "(p n) c -> p n c", n=gcd(*map(len, parts)))
        return parts

    output = copy(given)
    for unread in ("last_hidden_state", "hidden_states", "attentions", "pooler_output"):
        if getattr(output, unread, None) is not None:
            output[unread] = None  # nobody reads them again, and assisted decoding copies them
    if field != "deepstack_features":
        output[field] = cut(given[field])
    if getattr(output, "deepstack_features", None) is not None:
        output["deepstack_features"] = [cut(layer) for layer in given.deepstack_features]
    return output


def _spans(room: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for count in room:
        yield start, start + count
        start += count
