"""What a method is given: the same for ours and for the transcription."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tokenprune import Pipeline, VisualTokens

HEADS, KEYS, WORDS = 16, 64, 32


@dataclass(frozen=True)
class Problem:
    """B rows of N tokens of C entries on a map of h x w, of which T are to stay.

    Features and words have entries 1 and -1, so that nothing rounds where C is a power of four. Attention is
    log-normal, in steps of 2^-20, so that means over heads are exact.
    """

    batch: int
    grid: tuple[int, int]
    width: int
    keep: int
    images: int = 1  # what the rows are of, for methods that tell a thumbnail from its crops
    prompts: int = 1
    tensors: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        return self.grid[0] * self.grid[1]

    def __str__(self) -> str:
        return f"{self.batch} x {self.count} x {self.width}, T = {self.keep}"

    def drawn(self, seed: int = 0) -> Problem:
        """With its tensors: features, words, keys of a layer, and attention of three kinds."""
        g = torch.Generator().manual_seed(seed)
        rows, count = self.batch, self.count

        def signs(*shape: int) -> Tensor:
            return torch.randint(0, 2, shape, generator=g) * 2.0 - 1

        def attention() -> Tensor:
            return (torch.randn(rows, HEADS, count, generator=g).exp() * 2**12).floor().clamp(max=2**19) / 2**20

        found = {"features": signs(rows, count, self.width), "words": signs(rows, WORDS, self.width)}
        found |= {"cls": attention(), "early": attention(), "received": attention()}
        found |= {"logits": found["cls"].log().clamp(min=-20), "mean_keys": torch.randn(rows, KEYS, count, generator=g)}
        found["keys"] = torch.randn(rows, self.width, count, generator=g)
        return replace(self, tensors=found)

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or name not in self.tensors:
            raise AttributeError(name)
        return self.tensors[name]

    def cue(self, name: str) -> Tensor:
        """What a pipeline reads under a name: a layer that is named, but the last ones, is an early one."""
        kind, layer = name.partition("@")[0].partition(":")[0], name.partition("@")[2]
        if kind in ("cls_attention", "received_attention") and layer not in ("", "-1", "-2"):
            return self.tensors["early"]
        t, wide = self.tensors, self.tensors["cls"].mean(1)
        cues = {"cls_attention": t["cls"], "wide_cls_attention": wide, "received_attention": t["received"]}
        cues |= {"global_attention": t["received"]}
        cues |= {"cls_logits": t["logits"], "question": t["words"], "mean_keys": t["mean_keys"], "keys": t["keys"]}
        return (cues | {"projected": t["features"].mT})[kind]

    def tokens(self, pipeline: Pipeline) -> VisualTokens:
        """What ours is given; nothing is remembered from one call to the next."""
        names = (wish.split("|")[0] for wish in pipeline.reads)
        return VisualTokens.on_grid(self.tensors["features"], self.grid, cues={name: self.cue(name) for name in names})

    def crops(self, pipeline: Pipeline) -> VisualTokens:
        """The rows as images of a thumbnail and crops side by side."""
        tokens, each = self.tokens(pipeline), self.batch // self.images
        (high, wide), row = self.grid, torch.arange(self.batch)
        nth = row % each - 1  # -1: the thumbnail
        place = tokens.place.clone()
        place[..., 1] += (nth.clamp(min=0) * wide)[:, None]
        sizes = torch.tensor([[high, wide if one < 0 else wide * (each - 1)] for one in nth])
        return VisualTokens(
            tokens.features, tokens.cues, place=place, canvas=sizes, group=row // each, overview=nth < 0
        )


def unit_of(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def mask_of(rows: list[Tensor], count: int) -> Tensor:
    """[B, N] bool from the tokens that stay of each row."""
    mask = torch.zeros(len(rows), count, dtype=torch.bool)
    for row, kept in zip(mask, rows, strict=True):
        row[kept] = True
    return mask
