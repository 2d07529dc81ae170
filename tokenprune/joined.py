"""Tokens of several encoders as one set of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tokenprune.errors import UnsupportedMode
from tokenprune.tokens import TEXT, Cue, VisualTokens


def joined(every: Sequence[VisualTokens]) -> VisualTokens:
    """Rows of all under each other, those of fewer tokens padded with ones that are not valid.

    Groups are still those of each. No cue of the text is read before it is asked for.

    Raises:
        UnsupportedMode: they have different cues, or vectors of different width.
    """
    most = max(one.shape[1] for one in every)
    every, fields = [_widened(one, most) for one in every], dict[str, Any]()
    shapes = [
        {"width": one.features.shape[-1], **{name: one.cue(name).shape[1:] for name in one.cues if name not in TEXT}}
        for one in every
    ]
    if any(shape != shapes[0] for shape in shapes):
        raise UnsupportedMode(
            f"the encoders of images and of videos give different cues or vectors ({shapes}), which cannot be "
            "compared; ask about them in calls of their own"
        )
    for name in ("features", "valid", "place", "canvas", "group", "sample", "overview", "marked"):
        values = [getattr(one, name) for one in every]
        fields[name] = None if any(value is None for value in values) else torch.cat(values)
    return VisualTokens(**fields, cues={name: _under_each_other(every, name) for name in every[0].cues})


def _widened(tokens: VisualTokens, most: int) -> VisualTokens:
    """The same rows, ``most`` tokens wide, with every flag said."""
    few = most - tokens.shape[1]
    valid = torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device) if tokens.valid is None else tokens.valid
    no = torch.zeros(len(tokens.group), dtype=torch.bool)
    return replace(
        tokens,
        features=pad(tokens.features, (0, 0, 0, few)),
        cues={name: cue if name in TEXT else pad(tokens.cue(name), (0, few)) for name, cue in tokens.cues.items()},
        valid=pad(valid, (0, few)),
        place=None if tokens.place is None else pad(tokens.place, (0, 0, 0, few), value=-1),
        overview=no if tokens.overview is None else tokens.overview,
        marked=no if tokens.marked is None else tokens.marked,
    )


def _under_each_other(every: Sequence[VisualTokens], name: str) -> Cue:
    """A cue of all rows; that of the text only when it is asked for."""

    def joined() -> Tensor:
        return torch.cat([one.cue(name) for one in every])

    return joined if name in TEXT else joined()
