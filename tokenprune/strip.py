"""What is left of an image from layer to layer, for pipelines that go on choosing inside the language model."""

from __future__ import annotations

from dataclasses import replace

import torch

from tokenprune.receipt import ImageReceipt, Receipt


def strip_of(receipt: Receipt, index: int = 0) -> list[tuple[str, ImageReceipt]]:
    """(which layers, the image as they see it), first to last; empty where every layer sees the same tokens.

    A token stays important or diverse as long as it stays at all. Where nothing was chosen before the language model,
    nothing is said of why tokens stay.

    Args:
        receipt: of a call.
        index: which of its images.
    """
    if not receipt.layers:
        return []
    first = receipt.images[index]
    if first.after == first.before:
        none = first.kept[:0]
        first = replace(first, important=none, diverse=none, merged=none)
    ends = [*(one.layer for one in receipt.layers), receipt.depth]
    after = [_left(first, one.kept[index]) for one in receipt.layers]
    starts = [(0, first)] if ends[0] else []
    spans = zip([*starts, *zip(ends, after, strict=False)], ends if starts else ends[1:], strict=True)
    return [(_layers(start, stop), image) for (start, image), stop in spans]


def _left(image: ImageReceipt, kept: torch.Tensor) -> ImageReceipt:
    """The image with fewer tokens."""
    names = ("important", "diverse", "merged")
    reasons = {name: (had := getattr(image, name))[torch.isin(had, kept)] for name in names}
    return replace(image, after=len(kept), kept=kept, **reasons)


def _layers(start: int, stop: int) -> str:
    return f"layer {start}" if stop - start == 1 else f"layers {start} to {stop - 1}"
