"""What an encoder reads of a call, how its feature rows are laid out, and which prompt each image fills."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import AttachError, UnsupportedMode
from tokenprune.family import Family, Model
from tokenprune.layout import Layout, Seen
from tokenprune.listen import Settings


def arguments_of(family: Family, model: Model, call: Mapping[str, Any]) -> dict[str, Any]:
    """What the encoder reads of a call.

    Raises:
        UnsupportedMode: it needs something that the call does not bring.
    """
    parameters = inspect.signature(getattr(model.base_model, family.method)).parameters.values()
    given = {one.name: call[one.name] for one in parameters if one.name in call}
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    if missing := [name for name in needed if name not in given]:
        raise UnsupportedMode(
            f"{family.method} of {type(model).__name__} reads {', '.join(needed)}, and this call brings no "
            f"{', '.join(missing)}; let the processor return that"
        )
    return given


LayOut = Callable[[list[Tensor]], tuple[Layout, Tensor]]


def describing(
    layout: Callable[[Seen], Layout], model: Model, call: Mapping[str, Any], ids: Tensor, placeholder: Tensor
) -> LayOut:
    """What gives the layout of an encoder's feature rows, and the prompt of each of its rows."""

    def lay_out(pieces: list[Tensor]) -> tuple[Layout, Tensor]:
        found = layout(Seen(Settings(model.config, call), model.base_model, call, pieces, ids, placeholder))
        samples = sample_of(found.lengths, placeholder.sum(-1).tolist())
        return found, torch.tensor(samples, dtype=torch.int64)[found.item]

    return lay_out


def sample_of(lengths: list[int], room: list[int]) -> list[int]:
    """The prompt of each item: items fill the placeholders of one prompt after the other.

    Raises:
        AttachError: features and placeholders do not fit.
    """
    samples, prompt, used, fits = [], 0, 0, sum(lengths) == sum(room)
    for length in lengths:
        while prompt < len(room) and used == room[prompt]:
            prompt, used = prompt + 1, 0
        samples.append(prompt)
        used += length
        fits = fits and prompt < len(room) and used <= room[prompt]
    if not fits:
        raise AttachError(
            f"the encoder gives {lengths} feature rows, the prompts have {room} placeholders; the processor that made "
            "the prompt belongs to another model or image size, so load the one that belongs to this model"
        )
    return samples
