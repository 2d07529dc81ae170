"""Layouts of a family's own that also say how many tokens images have, before anything is encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenprune.layout import Layout, Seen


@dataclass(frozen=True)
class Counted:
    """A layout, and what a call and the config tell of it.

    Args:
        lays: how encoder outputs become tokens; see `tokenprune.layouts`.
        rows: feature rows of all images of a call; of what is seen, features and the prompt are empty.
        alone: from the config, the same of an image of (height, width) pixels that is neither resized nor cut. None:
            only an image processor tells.
    """

    lays: Callable[[Seen], Layout]
    rows: Callable[[Seen], int]
    alone: Callable[[Any, tuple[int, int]], int] | None = None

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        return self.lays(seen)
