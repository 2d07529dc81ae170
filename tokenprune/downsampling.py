"""The control that chooses no token: a smaller image through the same encoder, then a shorter run of its tokens."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tokenprune.coarse import coarser, sizes
from tokenprune.errors import AttachError, UnsupportedMode
from tokenprune.family import Family, Model, tower_of
from tokenprune.features import pieces_of
from tokenprune.layouts import Native, Packed, Tiles
from tokenprune.pipeline import Pipeline
from tokenprune.tokens import VisualTokens

_FLAG = "interpolate_pos_encoding"
_NO_FIRST = "it leaves out the first patch of an image; set vision_feature_select_strategy='full'"


def check_downsampling(family: Family, model: Model) -> None:
    """See whether a smaller image can go through a model's encoder.

    Raises:
        UnsupportedMode: it cannot; the message says what to ask of the processor instead.
        UnknownFamily: the family is not built with this encoder.
    """
    if reason := _why_not(family, model):
        raise UnsupportedMode(f"no smaller image goes through the encoder of {type(model).__name__}: {reason}")


def _why_not(family: Family, model: Model) -> str | None:
    tower, spec = tower_of(family, model)
    layout = spec.layout or family.layout
    layout = getattr(layout, "inside", layout)
    if isinstance(layout, Native):
        return (
            "it takes every image at its own resolution, and making that smaller is the processor's work; load the "
            "processor with a smaller max_pixels (or size)"
        )
    if isinstance(layout, Packed):
        return (
            "an image is cut into crops that are packed at their full size; load the processor with fewer or smaller "
            "image_grid_pinpoints"
        )
    if family.cross is not None or not isinstance(layout, Tiles):
        return "its tokens are not the patches of one image; make the image smaller before the processor gets it"
    if layout.image != "tile":
        return "an image is cut into tiles; ask the processor for fewer of them"
    if layout.merge(model.config) != 1:
        return "it merges patches on a map of fixed size; 'pool' is the control that runs here"
    if _FLAG not in _arguments(type(tower).forward):
        return f"{type(tower).__name__} takes no {_FLAG}, so it knows places of one resolution alone"
    if spec.cls is None and getattr(model.config, "vision_feature_select_strategy", "full") == "default":
        return _NO_FIRST
    if sum("pixel_values" in name for name in _arguments(getattr(model.base_model, family.method))) > 1:
        return "it looks at an image at several resolutions; make the image smaller before the processor gets it"
    if family.video is not None:
        return "it takes videos too, whose frames are laid out otherwise"
    return None


def _arguments(function: Any) -> Mapping[str, Any]:
    return inspect.signature(function).parameters


def downsampled(
    family: Family,
    model: Model,
    pipeline: Pipeline,
    arguments: Mapping[str, Any],
    room: int,
    describe: Callable[[list[Tensor]], VisualTokens],
) -> Any:
    """Encode every image at the resolution whose tokens the budget leaves room for.

    Args:
        family: the model's family, for which `check_downsampling` has passed.
        model: the model.
        pipeline: whose budget it is.
        arguments: what the encoder reads of the call.
        room: placeholders of all images.
        describe: the tokens of images with feature rows [L, C] each.

    Returns:
        The encoder's output as for the full images. Rows of slots that do not stay are zero; where all stay, it is what
        the model itself makes.

    Raises:
        AttachError: the prompt was made for another image size.
        UnsupportedMode: the call leaves out the first patch of an image.
    """
    name = next(one for one in family.pixels if one in arguments)
    pixels: Tensor = arguments[name]
    length = room // max(1, len(pixels))
    tokens = describe([pixels.new_zeros(length, 0)] * len(pixels))
    counts = pipeline.stages[0].counts(tokens, pipeline.kept)
    if torch.equal(counts, tokens.counts):
        return getattr(model.base_model, family.method)(**arguments, return_dict=True)
    grid, stays, wanted = _grid(tokens), coarser(tokens, counts).mask, sizes(tokens, counts)
    rows, output = None, None
    for size in dict.fromkeys(wanted):
        these = torch.tensor([row for row, one in enumerate(wanted) if one == size], device=pixels.device)
        small = _shrunk(pixels[these], model.config.vision_config.patch_size, grid, size)
        output = _encoded(family, model, {**arguments, name: small})
        made = torch.stack(pieces_of(output, family.feature_field))  # [b, extra + h * w, C]
        rows = made.new_zeros(len(pixels), length, made.shape[2]) if rows is None else rows
        rows[these] = _placed(made, size, stays[these], length)
    return _like(output, family.feature_field, rows)


def _grid(tokens: VisualTokens) -> tuple[int, int]:
    """(h, w) of the tokens of every image.

    Raises:
        UnsupportedMode: a first patch of each never reaches the language model.
    """
    assert tokens.canvas is not None  # tiles have places
    height, width = tokens.canvas[0].tolist()
    if height * width != tokens.shape[1]:
        raise UnsupportedMode(_NO_FIRST)
    return height, width


def _shrunk(pixels: Tensor, patch: int, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """[b, 3, H, W], of which ``grid`` patches become tokens, as an image of ``size`` patches, at least one."""
    high, wide = (patch * side for side in grid)
    pixels, side = pixels[..., :high, :wide], [patch * max(1, one) for one in size]
    if side == [high, wide]:
        return pixels
    return interpolate(pixels.float(), side, mode="bicubic", antialias=True).to(pixels.dtype)


def _encoded(family: Family, model: Model, arguments: Mapping[str, Any]) -> Any:
    """What the encoder makes of images of another resolution than its own."""
    with _interpolating(tower_of(family, model)[0]):
        return getattr(model.base_model, family.method)(**arguments, return_dict=True)


def _placed(made: Tensor, size: tuple[int, int], stays: Tensor, length: int) -> Tensor:
    """[b, L, C]: the rows of smaller images where ``stays`` [b, N] is true, the others zero; CLS tokens come first.

    Raises:
        AttachError: they are not as many as a smaller image has.
    """
    extra, count = length - stays.shape[1], size[0] * size[1]
    if made.shape[1] != (want := extra + max(1, count)):
        raise AttachError(f"the encoder gives {made.shape[1]} feature rows for an image of {want}")
    full = made.new_zeros(len(made), length, made.shape[2])
    full[:, :extra] = made[:, :extra]
    full[:, extra:][stays] = made[:, extra : extra + count].flatten(0, 1)
    return full


def _like(output: Any, field: str, rows: Tensor | None) -> Any:
    """An encoder's output with other feature rows [I, L, C], in the container that it has."""
    assert rows is not None
    output = copy(output)
    output[field] = rows if isinstance(output[field], Tensor) else list(rows)
    return output


@contextmanager
def _interpolating(tower: Any) -> Iterator[None]:
    """Let this thread's runs of an encoder interpolate its embeddings of places."""
    thread = threading.get_ident()

    def ask(_: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return inputs, {**given, _FLAG: True} if threading.get_ident() == thread else given

    hook = tower.register_forward_pre_hook(ask, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
