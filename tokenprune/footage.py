"""What becomes of a video, and how many tokens it has, from the config alone."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from math import prod
from typing import Any

from tokenprune.family import Config, Family, Model, tower_of
from tokenprune.frames import Frames
from tokenprune.layouts import Native
from tokenprune.listen import Settings
from tokenprune.placeholders import Size, layout_of

_STRANGE = "not pruned: a call that brings one reaches the model as it is, with a warning"
_IMAGES = "as images: its processor hands frames on as images, and each has a budget of its own"


@dataclass(frozen=True)
class Footage:
    """What becomes of videos.

    Args:
        pruned: whether they are.
        how: in words.
        frames: of the video asked about. None: none was.
        rows: rows of tokens that they become; the budget is of all of them. None: only a run tells.
        count: placeholder tokens of that video, those that always stay among them. None: only a run tells.
        note: what the count rests on, or why there is none.
    """

    pruned: bool
    how: str
    frames: int | None = None
    rows: int | None = None
    count: int | None = None
    note: str = ""


def footage(family: Family, model: Model, size: Size | None = None, frames: int | None = None) -> Footage:
    """What becomes of a video.

    Args:
        family: the model's family.
        model: the model; on the meta device will do.
        size: (height, width) of a frame in pixels.
        frames: how many of them reach the encoder. None: nothing is counted.
    """
    if family.video is None:
        return Footage(False, _without(model))
    one = family.modalities["video"]
    layout, config = layout_of(one, tower_of(one, model)[1]), Settings(model.config, {})
    each = _frames_of_a_row(layout, config)
    row = "frame" if each == 1 else f"group of {each} frames"
    marked = ", and each keeps one where the budget is enough for that" * one.marked
    how = f"pruned: a row of tokens is a {row}, the rows of a video share its budget{marked}"
    if frames is None:
        return Footage(True, how)
    rows = -(-frames // each)
    if isinstance(layout, Frames):
        count = rows * (len(layout.cells(config).patches) + layout.cls) + layout.newline
        return Footage(True, how, frames, rows, count, "whatever their size")
    if isinstance(layout, Native) and size is not None:
        note = "unless they are resized, which is for its video processor to say"
        return Footage(True, how, frames, rows, rows * prod(layout.alone(config, size)), note)
    return Footage(True, how, frames, rows, None, "how many tokens a frame has, only a run of this model tells")


def _frames_of_a_row(layout: Any, config: Config) -> int:
    """Frames that the encoder takes together."""
    if not isinstance(layout, Native):
        return 1
    return int(getattr(config.vision_config, "temporal_patch_size", None) or 1)


def _without(model: Model) -> str:
    """What becomes of videos where the family takes none."""
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES

    if "pixel_values_videos" in inspect.signature(type(model).forward).parameters:
        return _STRANGE
    return _IMAGES if model.config.model_type in VIDEO_PROCESSOR_MAPPING_NAMES else "none: it takes images alone"
