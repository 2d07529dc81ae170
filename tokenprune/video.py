"""How a model family takes videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tokenprune.layout import Layout, Seen


@dataclass(frozen=True)
class Video:
    """How a family takes videos, where that is not how it takes images.

    A row is a frame (a temporal patch), and the frames of a video are one group, so that the budget is the video's.
    What stands between frames, timestamps and markers, is text and stays.

    Args:
        layout: how encoder outputs become frames; see `tokenprune.layouts.Native` and `tokenprune.frames.Frames`.
        placeholder: attribute of the config that holds the token id that is a video's placeholder.
        pixels: keyword arguments of ``forward`` that carry videos.
        method: method of the base model that encodes them.
        renamed: parameters of that method which a call brings under another name.
        tower: path from the base model to the encoder of videos. None: it is that of images.
        marked: whether each frame stands between markers of its own, so that none should be empty; see
            `tokenprune.marked.filled` for what is done about it, and for budgets below one token a frame.
    """

    layout: Callable[[Seen], Layout]
    placeholder: str = "video_token_id"
    pixels: tuple[str, ...] = ("pixel_values_videos",)
    method: str = "get_video_features"
    renamed: Mapping[str, str] = field(default_factory=dict)
    tower: str | None = None
    marked: bool = False
