"""Language models that look at images through cross-attention: no slot of their prompt is a visual token.

What is chosen are columns: keys and values that the text attends to. They are cut from the encoder's states before the
language model sees them, and the same columns from its cross-attention mask, whenever it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from tokenprune.encode import Encoded
from tokenprune.errors import UnsupportedMode
from tokenprune.family import Config, Family, Model, square
from tokenprune.listen import Heard, cue_sources, listening
from tokenprune.pipeline import Pipeline
from tokenprune.reordered import pick
from tokenprune.tokens import VisualTokens


@dataclass(frozen=True)
class CrossAttention:
    """How a language model is handed the images that it looks at through cross-attention.

    Every image is T tiles, some of them padding; a tile is one CLS token and the patches of a square in reading order.

    Args:
        encode: of the base model and the call, the states that the language model is given, [..., C], exactly as the
            model's own code makes them.
        tiles: of the config and the call, [B, I, 2] int64: tiles down and across of each image, 0 where there is none.
        pixels: keyword arguments that only the encoder reads.
        states: the language model's keyword for those states.
        mask: its keyword for the additive mask [B, 1, Q, columns].
        layers: numbers of its layers that look at images, from the config.
    """

    encode: Callable[[Model, Mapping[str, Any]], Tensor]
    tiles: Callable[[Config, Mapping[str, Any]], Tensor]
    pixels: tuple[str, ...]
    states: str = "cross_attention_states"
    mask: str = "cross_attention_mask"
    layers: Callable[[Config], Sequence[int]] = field(default=lambda config: _layers(config))


def _layers(config: Config) -> Sequence[int]:
    layers: Sequence[int] = config.get_text_config().cross_attention_layers
    return layers


@dataclass(frozen=True)
class Kept:
    """The columns that stay of each prompt.

    Args:
        index: [B, n] int64, columns of the unpruned states, ascending.
        real: [B, n] bool, False where a prompt keeps fewer.
    """

    index: Tensor
    real: Tensor

    @classmethod
    def of(cls, stays: Tensor) -> Kept:
        """From [B, columns] bool."""
        length = int(stays.sum(-1).max())
        index = stays.byte().argsort(dim=-1, stable=True, descending=True)[:, :length]
        return cls(index, stays.gather(1, index))

    def repeated(self, rows: int) -> Kept:
        """The same of ``rows`` sequences, several of each prompt side by side.

        Raises:
            UnsupportedMode: that is not a multiple of the prompts.
        """
        batch = len(self.index)
        if rows % batch:
            raise UnsupportedMode(f"{batch} pruned prompts cannot go on as {rows} sequences")
        return self if rows == batch else Kept(*(repeat_rows(part, rows) for part in (self.index, self.real)))

    def picked(self, rows: Any) -> Kept:
        """The same of some of its sequences; see `tokenprune.reordered`."""
        return Kept(pick(self.index, rows), pick(self.real, rows))

    def cut(self, states: Tensor) -> Tensor:
        """[..., C] states of B prompts to [B, n, C]."""
        flat = states.reshape(len(self.index), -1, states.shape[-1])
        return flat.gather(1, self.index[..., None].expand(-1, -1, flat.shape[-1]))

    def cut_mask(self, mask: Tensor, width: int) -> Tensor:
        """[B, 1, Q, columns] to [B, 1, Q, width]: a column that is padding, or not filled yet, is seen by no slot."""
        index, real = self.index[:, None, None].to(mask.device), self.real[:, None, None].to(mask.device)
        least = torch.finfo(mask.dtype).min
        short = mask.gather(3, index.expand(-1, 1, mask.shape[2], -1)).masked_fill(~real, least)
        return torch.nn.functional.pad(short, (0, width - short.shape[3]), value=least)


def repeat_rows(values: Tensor, rows: int) -> Tensor:
    """[B, ...] to [rows, ...]: each several times, side by side."""
    return values.repeat_interleave(rows // len(values), 0)


def encode_crossed(family: Family, model: Model, call: Mapping[str, Any], pipeline: Pipeline) -> tuple[Encoded, Tensor]:
    """Encode the images of one call and describe their tokens.

    Returns:
        What the encoder made, its rows being all columns, padding among them; and [B, columns] bool, which of them
        belong to tiles of an image.
    """
    cross = family.cross
    assert cross is not None
    sources = cue_sources(family, model, pipeline, call)
    with listening(family, model, sources) as heard:
        states = cross.encode(model.base_model, call)
    tiles = cross.tiles(model.config, call).to(states.device)  # [B, I, 2]
    patches = prod(square(model.config))
    most = states[..., 0].numel() // (tiles[..., 0].numel() * (patches + 1))
    there = torch.arange(most, device=states.device) < tiles.prod(-1, keepdim=True)  # [B, I, T]
    number = torch.arange(int(there.sum()) * patches, device=states.device).view(-1, patches)
    index = torch.full((*there.shape, patches + 1), -1, dtype=torch.int64, device=states.device)
    index[..., 1:][there] = number
    projected = pipeline.stages[0].space == "projected" or not heard.encoder
    vectors = (states if projected else heard.encoder[0]).detach()
    space = vectors.reshape(*index.shape, -1)[there][:, 1:]  # [rows, N, C]
    tokens = _tokens(model.config, space, _cues(heard, there, patches), tiles, there)
    encoded = Encoded(states, states.reshape(-1, states.shape[-1]), index.flatten(), tokens, sources)
    return encoded, repeat(there, "b i t -> b (i t p)", p=patches + 1)


def _cues(heard: Heard, there: Tensor, patches: int) -> dict[str, Tensor]:
    """[rows, N] or [rows, H, N] by name: what was read of the sequence of each image, its tiles end to end."""
    found = {}
    for name, values in heard.cues.items():
        each = rearrange(torch.cat(values), "(b i) ... (t s) -> b i t ... s", b=len(there), t=there.shape[2])
        found[name] = each[there][..., 1 : 1 + patches]
    return found


def _tokens(config: Config, space: Tensor, cues: Mapping[str, Tensor], tiles: Tensor, there: Tensor) -> VisualTokens:
    """Rows are the tiles of all images, in order."""
    height, width = square(config)
    prompt, image, tile = there.nonzero().unbind(-1)  # [rows]
    down, across = tiles[prompt, image].unbind(-1)
    cell = torch.arange(height * width, device=space.device)
    y = (tile // across * height)[:, None] + cell // width  # [rows, N]
    x = (tile % across * width)[:, None] + cell % width
    return VisualTokens(
        space,
        cues=cues,
        place=torch.stack([y, x], -1),
        canvas=torch.stack([down * height, across * width], -1),
        group=(there.any(-1).flatten().cumsum(0) - 1)[prompt * there.shape[1] + image].cpu(),
        sample=prompt.cpu(),
    )
