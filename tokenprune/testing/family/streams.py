"""What a language model gets beside the embeddings, for the columns that stay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokenprune.testing.family.subject import Heard

_OWN = ("input_ids", "attention_mask", "position_ids")  # what the run by hand makes by itself


def stream(
    name: str, value: Any, given: dict[str, Any], sample: int, slots: Tensor | None, count: int = 0
) -> list[Tensor] | None:
    """One prompt's part of a per-token argument at some columns, the last ``count`` by default; None: not per token."""
    batch, length = given["inputs_embeds"].shape[:2]
    columns = torch.arange(length - count, length) if slots is None else slots
    if name in ("deepstack_visual_embeds", "deepstack_features") and value is not None:
        visual = (given["vision_mask"] if isinstance(value, dict) else given["visual_pos_masks"]).view(batch, length)
        rows = visual.flatten().cumsum(0).view(batch, length)[sample, columns] - 1
        here = visual[sample, columns]
        return [layer[rows[here]] for layer in (value.values() if isinstance(value, dict) else value)]
    if not isinstance(value, Tensor) or name == "attention_mask":
        return None
    if name == "position_ids":
        value = value.expand(*value.shape[:-2], batch, -1)[..., sample, columns]
        return [value[1:] if value.ndim == 2 and len(value) == 4 else value]  # four: the first counts texts, not tokens
    return [value[sample, columns]] if value.shape[:2] == (batch, length) else None


def per_layer(full: Heard, decoded: list[Heard], sample: int, slots: Tensor) -> dict[str, Tensor]:
    """[1, S, ...] what a language model is handed besides embeddings: of the columns that stay, and of decoded ids."""
    shape = full.given["inputs_embeds"].shape[:2]
    return {
        name: torch.cat([value[sample, slots], *(one.given[name][sample] for one in decoded)])[None]
        for name, value in full.given.items()
        if name != "inputs_embeds" and isinstance(value, Tensor) and value.ndim > 3 and value.shape[:2] == shape
    }


def per_token(call: dict[str, Any], given: dict[str, Any], sample: int, slots: Tensor, new: Tensor) -> dict[str, Any]:
    """Other arguments with one entry a token, for the columns that stay and the ids decoded after them."""
    found = {}
    for name, value in given.items():
        if isinstance(value, Tensor) and value.shape == call["input_ids"].shape and name not in _OWN:
            after = new if name.endswith("input_ids") else torch.zeros_like(new)  # text has type zero
            found[name] = torch.cat([value[sample, slots], after.to(value)])[None]
    return found


def deep_streams(given: dict[str, Any], visual: Tensor, sample: int, slots: Tensor) -> dict[str, Any]:
    """What enters layers of the language model beside the embeddings, for the columns that stay."""
    if given.get("deepstack_visual_embeds") is not None:
        layers = stream("deepstack_visual_embeds", given["deepstack_visual_embeds"], given, sample, slots)
        return {"visual_pos_masks": visual[None], "deepstack_visual_embeds": layers}
    if given.get("deepstack_features") is not None:
        layers = stream("deepstack_features", given["deepstack_features"], given, sample, slots)
        streams = dict(zip(given["deepstack_features"], layers or [], strict=True))
        return {"vision_mask": visual[None, :, None], "deepstack_features": streams}
    return {}
