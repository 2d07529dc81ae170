"""The layers of a vision encoder: where they are, which have attention, and which one a cue asks for."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

from tokenprune.errors import AttachError, MissingCue
from tokenprune.family import Tower, submodule


def layers_path(encoder: Any, spec: Tower) -> tuple[str, str]:
    """The path of the encoder's list of layers, and the path from one of them to its attention."""
    for path in spec.attention:
        stem, _, attention = path.partition(".{}.")
        try:
            submodule(encoder, stem)
        except AttributeError:
            continue
        return stem, attention
    raise AttachError(
        f"{type(encoder).__name__} has none of {', '.join(spec.attention)}; this transformers version lays it out anew"
    )


def attending(encoder: Any, spec: Tower) -> list[bool]:
    """Which layers have attention; in some encoders others have convolutions in its place."""
    stem, attention = layers_path(encoder, spec)
    return [hasattr(layer, attention.partition(".")[0]) for layer in submodule(encoder, stem)]


def layer_at(at: str, layers: list[bool], name: str) -> int:
    """The layer that a cue asks for, from 0: a number, from the end if negative, or a share of the depth.

    ``33%`` is layer 8 of 24, to the nearest, ties up. Where that one has no attention it is the nearest that has some,
    the earlier of two.

    Args:
        at: what stands behind ``@``.
        layers: which layers have attention.
        name: the cue, for errors.

    Raises:
        MissingCue: there is no such layer, or it has no attention.
    """
    depth, attend = len(layers), [layer for layer, attends in enumerate(layers) if attends]
    if at.endswith("%"):
        wanted = min(depth - 1, floor(Fraction(at[:-1]) / 100 * depth + Fraction(1, 2)))
        return min(attend, key=lambda layer: abs(layer - wanted))
    layer = int(at)
    if not -depth <= layer < depth:
        raise MissingCue(
            f"{name!r} asks for encoder layer {layer}; this encoder has {depth}, numbered from 0. A share of the "
            f"depth suits every encoder, as in '{name.partition('@')[0]}@40%'"
        )
    if not layers[layer]:
        raise MissingCue(
            f"{name!r} asks for encoder layer {layer}, which has no attention; there is some in "
            f"{', '.join(map(str, attend))}"
        )
    return layer % depth
