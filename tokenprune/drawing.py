"""The picture of one image of a receipt: its rows where they lie, its thumbnail apart, and a caption that counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tokenprune.painting import GAP, PAPER, Layer, Why, Words, captioned
from tokenprune.picture import counted, laid_over
from tokenprune.placement import Placement, placed
from tokenprune.rulers import Process
from tokenprune.spots import Box

if TYPE_CHECKING:
    from tokenprune.receipt import ImageReceipt

_THUMBNAIL = 3  # how many times smaller than the picture


def whys(one: ImageReceipt) -> NDArray[np.int64]:
    """[n] a `Why` for each token of an image."""
    found = np.full(one.before, Why.DROPPED, dtype=np.int64)
    found[one.kept.numpy()] = Why.KEPT
    for reason, which in ((Why.IMPORTANT, one.important), (Why.DIVERSE, one.diverse), (Why.MERGED, one.merged)):
        found[which.numpy()] = reason
    return found


def ranks(scores: Any) -> NDArray[np.float64]:
    """[n] how many of the others each score is not below, 0 to 1; what is alike ranks alike."""
    scores = np.asarray(scores, dtype=np.float64)
    levels = np.unique(scores, return_inverse=True)[1].astype(np.float64)
    return np.asarray(levels / max(levels.max(initial=0), 1))


def layers_of(
    one: ImageReceipt, placement: Placement, why: NDArray[np.int64], heat: NDArray[np.float64] | None = None
) -> list[Layer]:
    """A layer for each row, in order; those whose place is not known are left out.

    Args:
        one: of the receipt.
        placement: where its rows lie.
        why: [n] a `Why` for each token.
        heat: [n] see `ranks`. None: there are no scores.
    """
    if one.spots is None:
        return []
    row, cell, layers = one.spots.row.numpy(), one.spots.cell.numpy(), []
    for at, (grid, box) in enumerate(zip(one.spots.grid.tolist(), placement.boxes, strict=True)):
        if box is None:
            continue
        mine, spread = row == at, np.full(grid, Why.ABSENT, dtype=np.int64)
        places = tuple(cell[mine].T)
        spread[places] = why[mine]
        warm = None
        if heat is not None:
            warm = np.full(grid, np.nan)
            warm[places] = heat[mine]
        layers.append(Layer(spread, box, warm))
    return layers


def drawn(
    image: Image.Image,
    one: ImageReceipt,
    placement: Placement,
    title: str = "",
    scale: float = 1.0,
    scores: Any = None,
) -> Image.Image:
    """One image of a receipt.

    Args:
        image: as it was before any preprocessing.
        one: of the receipt.
        placement: where its rows lie.
        title: what the caption begins with.
        scale: how much the image is enlarged first.
        scores: [n] of its tokens; they are then shown, in place of which stay.
    """
    why = whys(one)
    layers = layers_of(one, placement, why, None if scores is None else ranks(scores))
    if not layers:
        bare = laid_over(image, [Layer(np.full((1, 1), Why.ABSENT), (0, 0, *image.size))], scale)
        return captioned(bare, counted(why, title), placement.note)
    apart = [layer for layer, again in zip(layers, placement.overview, strict=True) if again]
    main = [layer for layer, again in zip(layers, placement.overview, strict=True) if not again]
    if not main:
        main, apart = apart, []
    picture = laid_over(image, main, scale, scores is not None)
    ranked: list[Words] = [[(f"{title}  scores, by rank".strip(), None)]]
    for layer in apart:
        small = laid_over(image, [layer], scale / _THUMBNAIL, scores is not None)
        picture = _below(picture, small, layer, main)
    return captioned(picture, counted(why, title) if scores is None else ranked, placement.note)


def drawn_small(image: Image.Image, one: ImageReceipt, placement: Placement, title: str, scale: float) -> Image.Image:
    """One image of a receipt with how many tokens stay, and nothing else; without its thumbnail."""
    layers = layers_of(one, placement, whys(one))
    main = [layer for layer, again in zip(layers, placement.overview, strict=False) if not again] or layers
    return captioned(laid_over(image, main, scale), [[(f"{title}: {one.after}", None)]])


def _below(picture: Image.Image, small: Image.Image, layer: Layer, main: list[Layer]) -> Image.Image:
    """A thumbnail under the picture, with how much of it and of the crops stays beside it."""

    def share(*layers: Layer) -> str:
        return f"{sum(int((one.why > 0).sum()) for one in layers)}/{sum(int((one.why >= 0).sum()) for one in layers)}"

    words: list[Words] = [[(f"thumbnail  {share(layer)}", None)], [(f"crops  {share(*main)}", None)]]
    beside = captioned(Image.new("RGB", (max(1, picture.width - small.width - GAP), 1), PAPER), words)
    width = max(picture.width, small.width + GAP + beside.width)
    page = Image.new("RGB", (width, picture.height + GAP + max(small.height, beside.height)), PAPER)
    page.paste(picture)
    page.paste(small, (0, picture.height + GAP))
    page.paste(beside, (small.width + GAP, picture.height + GAP))
    return page


def receipt_drawn(image: Image.Image, one: ImageReceipt, title: str, box: Box | None, processor: Any) -> Image.Image:
    """What ``Receipt.overlay`` gives.

    Raises:
        ValueError: it cannot be told where the tokens lie.
    """
    if processor is not None:
        placement = placed(process_of(processor), image.size, one.spots)
    elif one.spots is not None and len(one.spots.grid) == 1:
        from tokenprune.picture import clip_box

        placement = Placement((box or clip_box(image.size),), (False,))
    else:
        rows = "its model resamples it, so they have no place" if one.spots is None else "it has several rows of them"
        raise ValueError(f"{rows}; say processor=..., and the picture shows what can be told of where its tokens lie")
    return drawn(image, one, placement, title)


def process_of(processor: Any) -> Process:
    """A function from an image to the model's inputs: a processor, an image processor, or such a function itself."""
    if hasattr(processor, "image_processor"):
        token = getattr(processor, "image_token", "<image>")
        return lambda image: _mapping(processor(images=[image], text=[f"{token}\n"], return_tensors="pt"))
    if hasattr(processor, "preprocess"):
        return lambda image: _mapping(processor(images=[image], return_tensors="pt"))
    return processor  # type: ignore[no-any-return]


def _mapping(made: Any) -> Mapping[str, Any]:
    return dict(made)
