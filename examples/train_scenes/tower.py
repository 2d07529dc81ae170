"""Stage 1, the vision tower: it learns to say what every patch shows, and to caption the image from its CLS token.

First on windows of 6 x 6 patches around things (37 tokens, at their true positions), which is cheap; then on whole
images. The patches are read where the language model will read them, before the last layer; the CLS after it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from data import SIGN, Batch, Share, image_batch, maker, window_batch

SHAPE, COLOR, DIGIT, REGION, GROUND = 10, 8, 11, 10, 6  # classes, all but the last with "none"
PATCH_HEAD = (SHAPE, COLOR, DIGIT, DIGIT, REGION, GROUND)
CENTER_HEAD = (SHAPE, COLOR, DIGIT, DIGIT)
CAPTION_HEAD = (SHAPE, COLOR) * 9 + (DIGIT, DIGIT, GROUND)
Notes = dict[str, Tensor]


class Tower(nn.Module):
    """A CLIP vision model with heads that only training needs."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        width = net.config.hidden_size
        self.patch_norm_head = nn.LayerNorm(width)
        self.patch_head = nn.Linear(width, sum(PATCH_HEAD))
        self.center_head = nn.Linear(width, sum(CENTER_HEAD))
        self.caption_head = nn.Linear(width, sum(CAPTION_HEAD))

    def forward(self, pixels: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Patches ``[B, N, C]`` before the last layer and the CLS token ``[B, C]`` after it.

        ``positions`` ``[B, N + 1]``: rows of the position table, for windows; None for whole images.
        """
        embed = self.net.embeddings
        x = embed.patch_embedding(pixels).flatten(2).transpose(1, 2)  # [B, N, C]
        x = torch.cat([embed.class_embedding.expand(len(x), 1, -1).to(x.dtype), x], dim=1)
        table = embed.position_embedding.weight
        x = self.net.pre_layrnorm(x + (table if positions is None else table[positions]))
        for layer in self.net.encoder.layers:
            before, x = x, layer(x, attention_mask=None)
        return before[:, 1:], self.net.post_layernorm(x[:, 0])


def _split(logits: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    return torch.split(logits.float(), list(sizes), dim=-1)


def _right(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.argmax(-1) == target).float()


def _mean(values: Tensor) -> Tensor:
    """The mean, 0 of nothing."""
    return values.sum() / max(values.numel(), 1)


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy, 0 where there is nothing to learn from."""
    return functional.cross_entropy(logits, target, reduction="sum") / max(len(target), 1)


def patch_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Notes]:
    """From ``[B, N, 56]`` and classes ``[B, N, 6]``; things count four times as much as background."""
    shape, color, tens, ones, region, ground = _split(logits.flatten(0, 1), PATCH_HEAD)
    its_shape, its_color, its_tens, its_ones, its_region, its_ground = labels.flatten(0, 1).unbind(-1)
    weight = torch.where(its_shape > 0, 1.0, 0.25)
    thing, sign, bare = its_color > 0, its_tens > 0, its_shape == 0
    loss = (functional.cross_entropy(shape, its_shape, reduction="none") * weight).sum() / weight.sum()
    loss = loss + _entropy(color[thing], its_color[thing]) + 0.3 * _entropy(ground[bare], its_ground[bare])
    loss = loss + 0.5 * (_entropy(tens[sign], its_tens[sign]) + _entropy(ones[sign], its_ones[sign]))
    loss = loss + _entropy(region[its_region > 0], its_region[its_region > 0])
    right = {
        "patch shape": _mean(_right(shape, its_shape)[thing]),
        "patch number": _mean((_right(tens, its_tens) * _right(ones, its_ones))[sign]),
        "patch region": _mean(_right(region, its_region)[its_region > 0]),
    }
    return loss, right


def center_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Notes]:
    """From ``[B, 40]`` and the classes ``[B, 4]`` of the thing in the middle of the window."""
    shape, color, tens, ones = _split(logits, CENTER_HEAD)
    its_shape, its_color, its_tens, its_ones = labels.unbind(-1)
    thing, sign = its_color > 0, its_tens > 0
    loss = _entropy(shape, its_shape) + _entropy(color[thing], its_color[thing])
    loss = loss + 0.5 * (_entropy(tens[sign], its_tens[sign]) + _entropy(ones[sign], its_ones[sign]))
    return loss, {"center shape": _mean(_right(shape, its_shape)[thing])}


def caption_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Notes]:
    """From ``[B, 190]`` and classes ``[B, 21]``: nine regions, two digits, the background."""
    *regions, tens, ones, ground = _split(logits, CAPTION_HEAD)
    shape, color = torch.stack(regions[0::2], dim=1), torch.stack(regions[1::2], dim=1)  # [B, 9, classes]
    its_shape, its_color = labels[:, 0:18:2], labels[:, 1:18:2]
    its_tens, its_ones, its_ground = labels[:, 18:].unbind(-1)
    sign, thing = its_tens > 0, (its_shape > 0) & (its_shape < SIGN)
    loss = _entropy(shape.flatten(0, 1), its_shape.flatten()) + _entropy(color.flatten(0, 1), its_color.flatten())
    loss = 1.5 * loss + 0.3 * _entropy(ground, its_ground)
    loss = loss + 0.3 * (_entropy(tens[sign], its_tens[sign]) + _entropy(ones[sign], its_ones[sign]))
    right = {"caption shape": _right(shape, its_shape)[thing], "caption color": _right(color, its_color)[thing]}
    return loss, {name: _mean(values) for name, values in right.items()}


class Windows:
    """The first stage of the tower."""

    name, peak, floor, decay, warmup = "tower-windows", 1.5e-3, 1.2e-3, 0.05, 100

    def __init__(self, tower: Tower, steps: int, share: Share) -> None:
        self.module, self.steps, self.draw = tower, steps, maker(window_batch, share)

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Notes]:
        patches, cls = self.module(batch["pixels"], batch["positions"])
        dense, right = patch_loss(self.module.patch_head(self.module.patch_norm_head(patches)), batch["patches"])
        center, more = center_loss(self.module.center_head(cls), batch["center"])
        return dense + center, right | more


class Images:
    """The second stage: whole images; the weight of the patches falls while that of the caption stays."""

    name, peak, floor, decay, warmup = "tower-images", 1.2e-3, 5e-5, 0.05, 50

    def __init__(self, tower: Tower, steps: int, share: Share) -> None:
        self.module, self.steps, self.draw = tower, steps, maker(image_batch, share)

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Notes]:
        patches, cls = self.module(batch["pixels"])
        dense, right = patch_loss(self.module.patch_head(self.module.patch_norm_head(patches)), batch["patches"])
        caption, more = caption_loss(self.module.caption_head(cls), batch["caption"])
        return caption + max(0.3, 1 - progress) * dense, right | more
