"""Several questions about one image at the price of reading the image once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.measure.asking import Asker, Said
from tokenprune.measure.row import Row
from tokenprune.pipeline import Pipeline
from tokenprune.tokens import TEXT


def shares(pipeline: Pipeline) -> bool:
    """Whether what a pipeline keeps of an image is the same whatever is asked."""
    cues = {cue.partition("@")[0] for wish in pipeline.reads for cue in wish.split("|")}
    return not cues & TEXT and all(stage.site == "pre_llm" for stage in pipeline.stages)


@dataclass(frozen=True)
class Grouped:
    """The prompts of a batch, cut after the image.

    The prompt up to there is read once for each image; its cache is then repeated, and every question goes on from its
    copy. That is a continued turn like any other, so answers are those of separate prompts but for rounding.

    Args:
        start: [I, P], the ids of the I images' prompts up to the last visual token.
        pixels: [I, ...].
        whole: [I * K, P + S], the ids of K questions about each image, padded between image and question.
        mask: [I * K, P + S], zero where that is padding.
        place: which row of ``whole`` a row of the batch is.
        image: which image it is about.
    """

    start: Tensor
    pixels: Tensor
    whole: Tensor
    mask: Tensor
    place: Sequence[int]
    image: Sequence[int]

    def ask(self, asker: Asker) -> Said:
        """What the model, as it is now, says to each row of the batch."""
        with torch.no_grad():
            read = asker.model(
                input_ids=self.start,
                attention_mask=torch.ones_like(self.start),
                pixel_values=self.pixels,
                use_cache=True,
                logits_to_keep=1,
            )
        cache = read.past_key_values
        cache.batch_repeat_interleave(len(self.whole) // len(self.start))
        said = asker.ask({"input_ids": self.whole, "attention_mask": self.mask, "past_key_values": cache})
        place = list(self.place)
        return Said([said.texts[at] for at in place], said.first[place])


def grouped(asker: Asker, rows: Sequence[Row], inputs: Any) -> Grouped | None:
    """The same batch, cut after the image; None where images come in several parts or prompts do not begin alike."""
    if set(inputs) != {"input_ids", "attention_mask", "pixel_values"} or len(inputs["pixel_values"]) != len(rows):
        return None
    prompts = [ids[mask.bool()] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
    bounds = [int((ids == asker.model.config.image_token_id).nonzero().max()) + 1 for ids in prompts]
    starts = [ids[:bound] for ids, bound in zip(prompts, bounds, strict=True)]
    if not all(torch.equal(one, starts[0]) for one in starts):
        return None
    by_image: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_image.setdefault(row.image, []).append(number)
    most = max(map(len, by_image.values()))
    order = [number for many in by_image.values() for number in [*many, *many[-1:] * (most - len(many))]]
    whole, mask = _padded([starts[at] for at in order], [prompts[at][bounds[at] :] for at in order])
    place = {number: at for at, number in enumerate(order)}
    return Grouped(
        torch.stack([starts[many[0]] for many in by_image.values()]),
        inputs["pixel_values"][[many[0] for many in by_image.values()]],
        whole,
        mask,
        [place[number] for number in range(len(rows))],
        [image for number in range(len(rows)) for image, many in enumerate(by_image.values()) if number in many],
    )


def _padded(starts: Sequence[Tensor], ends: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[B, P + S] ids, and a mask that is zero in the gaps between starts and ends; what fills them is not read."""
    width = max(map(len, ends))
    gaps = [start[:1].expand(width - len(end)) for start, end in zip(starts, ends, strict=True)]
    parts = list(zip(starts, gaps, ends, strict=True))
    whole = torch.stack([torch.cat(part) for part in parts])
    real = [torch.cat([torch.ones_like(a), torch.zeros_like(b), torch.ones_like(c)]) for a, b, c in parts]
    return whole, torch.stack(real)
