"""The record of what was kept, why, and what it saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.selection import Selection
from tokenprune.spots import Box, Spots, spots_of
from tokenprune.tokens import VisualTokens

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageReceipt:
    """What was kept of one image or video.

    Args:
        sample: the prompt it belongs to.
        before: visual tokens it had.
        after: visual tokens that stay.
        kept: int64, indices among its own tokens, ascending.
        important: those of ``kept`` that were chosen by score.
        diverse: those of ``kept`` that were chosen to differ from the rest.
        merged: those of ``kept`` whose content was replaced by what was folded into them (carriers).
        rows: tokens kept of each crop or frame.
        grid: (h, w) of its tokens when they are one full rectangle.
        kind: ``image`` or ``video``.
        spots: the crop and cell of each of its tokens. None: they have no place.
    """

    sample: int
    before: int
    after: int
    kept: Tensor
    important: Tensor
    diverse: Tensor
    merged: Tensor
    rows: tuple[int, ...]
    grid: tuple[int, int] | None
    kind: str = "image"
    spots: Spots | None = None


@dataclass(frozen=True)
class Receipt:
    """What the last forward kept, of every prompt of its batch.

    Args:
        pipeline: name of the pipeline.
        model: class of the model.
        slots: for each prompt the columns of the given, padded, unpruned ``input_ids`` that survived, ascending int64.
        length: columns of the given ``input_ids``.
        images: one entry an image or video, in prompt order.
        budget: what was asked, as text, with its unit.
        asked: tokens that the budget comes to, all units together.
        uncut: units (images, rows or prompts) of which every token stayed though the budget is smaller.
        source: the cues that were read, such as ``cls_attention@22``.
        space: where similarity was measured.
        positions: ``keep`` or ``renumber``.
        separators: rows that are no tokens and stayed.
        milliseconds: host time of each part.
    """

    pipeline: str
    model: str
    slots: list[Tensor]
    length: int
    images: list[ImageReceipt]
    budget: str
    asked: int
    uncut: int
    source: tuple[str, ...]
    space: str
    positions: str
    separators: int
    milliseconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def before(self) -> int:
        """Visual tokens of all images."""
        return sum(image.before for image in self.images)

    @property
    def after(self) -> int:
        """Visual tokens that stay."""
        return sum(image.after for image in self.images)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and texts, fit for JSON; spots are left out."""
        return _plain(asdict(self))  # type: ignore[no-any-return]

    def overlay(self, image: Image, index: int = 0, box: Box | None = None, processor: Any = None) -> Image:
        """The picture with the tokens that stay in colour and the dropped ones dimmed.

        Args:
            image: the picture that was asked about.
            index: which of the images of the receipt it is.
            box: (left, top, right, bottom), the part of it that the model saw. None: the largest centred square.
            processor: the model's, or a function from an image to its inputs; then what it saw is read off that.

        Raises:
            ValueError: the tokens are no one rectangle, and there is no processor to say where they lie.
        """
        from tokenprune.drawing import receipt_drawn

        return receipt_drawn(image, self.images[index], self.pipeline, box, processor)

    def _repr_html_(self) -> str:
        from tokenprune.notebook import receipt_html

        return receipt_html(self)

    def _what(self) -> str:
        """``3 images``, ``1 image, 2 videos``."""
        kinds = [image.kind for image in self.images]
        counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
        return ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts.items())

    def __str__(self) -> str:
        share = 100 * self.after / self.before if self.before else 100.0
        kept = sum(len(slots) for slots in self.slots)
        extra = f", + {self.separators} separator{'s' * (self.separators != 1)}" if self.separators else ""
        lines = [
            f"{self.pipeline} on {self.model}: {self.after} of {self.before} tokens ({share:.1f} %){extra}; "
            f"{self._what()}, {kept} slots of {len(self.slots)} x {self.length}",
            f"asked {self.budget}, {self.asked} in all; scored by {', '.join(self.source) or 'nothing'}; "
            f"similarity in {self.space} space; positions: {self.positions}",
        ]
        for number, image in enumerate(self.images):
            rows = f", rows {' '.join(map(str, image.rows))}" if len(image.rows) > 1 else ""
            merged = f", {len(image.merged)} merged" if len(image.merged) else ""
            lines.append(
                f"  {image.kind} {number} (prompt {image.sample}): {image.after} of {image.before}, "
                f"{len(image.important)} important, {len(image.diverse)} diverse{merged}{rows}"
            )
        lines.append("host time: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in self.milliseconds.items()))
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if key != "spots"}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def uncut_units(tokens: VisualTokens, selection: Selection, budget: Budget) -> int:
    """How many units of the budget stayed whole though it is smaller."""
    counts, kept = tokens.counts.tolist(), selection.counts.tolist()
    totals = [
        (sum(counts[row] for row in rows), sum(kept[row] for row in rows), most) for rows, most in budget.units(tokens)
    ]
    return sum(most < after == before for before, after, most in totals)


def images_of(
    tokens: VisualTokens, selection: Selection, kinds: Mapping[int, str], patch: tuple[int, int] | None = None
) -> list[ImageReceipt]:
    """One entry for each group of rows, in order; reads the selection back from the device.

    Args:
        tokens: all rows.
        selection: what was chosen of them.
        kinds: ``image`` or ``video``, by group.
        patch: as in `Spots`.
    """
    masks = [mask.cpu() for mask in (selection.important, selection.diverse, selection.merged)]
    valid = torch.ones(tokens.shape, dtype=torch.bool) if tokens.valid is None else tokens.valid.cpu()
    grid = tokens.grid
    found = []
    for group in sorted(set(tokens.group.tolist())):
        rows = tokens.group == group
        there = valid[rows].flatten()
        important, diverse, merged = (mask[rows].flatten()[there] for mask in masks)
        kept = important | diverse | merged
        found.append(
            ImageReceipt(
                sample=int(tokens.sample[rows][0]),
                before=int(there.sum()),
                after=int(kept.sum()),
                kept=kept.nonzero()[:, 0],
                important=important.nonzero()[:, 0],
                diverse=diverse.nonzero()[:, 0],
                merged=merged.nonzero()[:, 0],
                rows=tuple(selection.mask.cpu()[rows].sum(-1).tolist()),
                grid=grid if int(rows.sum()) == 1 else None,
                kind=kinds[group],
                spots=spots_of(tokens, rows, patch),
            )
        )
    return found
