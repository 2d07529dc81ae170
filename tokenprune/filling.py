"""How feature rows are laid out, and which prompt each image fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import AttachError
from tokenprune.family import Model
from tokenprune.layout import Layout, Seen
from tokenprune.listen import Settings

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
