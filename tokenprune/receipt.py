"""The record of what was kept, why, and what it saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from tokenprune.spots import Box, Spots

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
class LayerReceipt:
    """What reached the layers of the language model from one stage on.

    Args:
        layer: the first of them.
        kept: for each image, int64 ascending: indices among its own tokens, as in `ImageReceipt`.
        slots: for each prompt the columns of the given ``input_ids`` that are left, as in `Receipt.slots`.
        columns: the length of the prompt there, padding among it.
    """

    layer: int
    kept: list[Tensor]
    slots: list[Tensor]
    columns: int


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
        layers: what the stages inside the language model left.
        depth: layers of the language model. 0: nobody asked.
        kv_bytes_saved: what the key-value cache of the prompts is smaller by, one sequence of each. None: this language
            model does not keep keys and values of every column alike.
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
    layers: tuple[LayerReceipt, ...] = ()
    depth: int = 0
    kv_bytes_saved: int | None = None

    @property
    def before(self) -> int:
        """Visual tokens of all images."""
        return sum(image.before for image in self.images)

    @property
    def after(self) -> int:
        """Visual tokens that stay."""
        return sum(image.after for image in self.images)

    @property
    def average(self) -> float:
        """Visual tokens of all images, averaged over the layers of the language model."""
        if not self.layers:
            return float(self.after)
        bounds = [*(one.layer for one in self.layers), self.depth]
        tokens = [sum(len(kept) for kept in one.kept) for one in self.layers]
        inside = sum((stop - start) * count for start, stop, count in zip(bounds, bounds[1:], tokens, strict=False))
        return (bounds[0] * self.after + inside) / self.depth

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
        for layer in self.layers:
            counts = " ".join(str(len(kept)) for kept in layer.kept)
            lines.append(f"  from layer {layer.layer} of {self.depth}: {counts} tokens, {layer.columns} slots")
        if self.layers:
            lines.append(f"  {self.average:.1f} of {self.before} tokens averaged over the layers")
        if self.kv_bytes_saved is not None:
            lines.append(f"key-value cache: {self.kv_bytes_saved / 2**20:.1f} MiB less")
        lines.append("host time: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in self.milliseconds.items()))
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if key != "spots"}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
