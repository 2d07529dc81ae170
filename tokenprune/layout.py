"""How an encoder's outputs become tokens, and how tokens become the feature rows that fill placeholders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tokenprune.errors import AttachError


@dataclass(frozen=True)
class Layout:
    """B rows of N tokens, where they come from and where they go.

    Args:
        lengths: feature rows of each item (tile or image) in placeholder order; they sum to R.
        index: [R] int64, the flattened token (b * N + n) behind each feature row; -1: a separator.
        patches: [B, N, K] int64, the K encoder outputs that a token is made of, counted over all sequences laid end to
            end, CLS tokens left out; -1 where it is made of fewer.
        item: the item whose prompt a row belongs to, [B] int64.
        group: [B] int64, the image of each row.
        outputs: encoder outputs of all sequences, CLS tokens and those that never reach the projector left out.
        sequence: the same of one sequence, where all have the same.
        real: [S] bool, where sequences are padded: the places, all laid end to end, that are outputs. None: all.
        valid, place, canvas, overview: as in `VisualTokens`.
        mix: of encoder outputs [S, C], the feature rows [R, C] where these are mixtures. None: see ``patches``.
        weights: [N, K] float32, the share of each of the K in the token. None: they count alike.
    """

    lengths: list[int]
    index: Tensor
    patches: Tensor
    item: Tensor
    group: Tensor
    outputs: int
    sequence: int | None = None
    real: Tensor | None = None
    valid: Tensor | None = None
    place: Tensor | None = None
    canvas: Tensor | None = None
    overview: Tensor | None = None
    mix: Callable[[Tensor], Tensor] | None = None
    weights: Tensor | None = None

    def pool(self, values: Tensor) -> Tensor:
        """[S] or [H, S] over all encoder outputs to [B, N] or [B, H, N]: the mean of what a token is made of."""
        pooled = self.pool_rows(values.float().reshape(-1, values.shape[-1]).T)  # [B, N, H]
        return pooled[..., 0] if values.ndim == 1 else pooled.transpose(1, 2)

    def pool_rows(self, values: Tensor) -> Tensor:
        """[S, C] to [B, N, C]."""
        return self._mean(values[self.patches]) if self.mix is None else self.spread(self.mix(values))

    def _mean(self, gathered: Tensor) -> Tensor:
        """[..., K, C] to [..., C]; where a token is made of fewer than K, the others do not count."""
        if gathered.shape[-2] == 1:
            return gathered[..., 0, :]
        if self.weights is not None:
            return (gathered.float() * self.weights[..., None]).sum(-2)
        real = (self.patches >= 0)[..., None]
        return (gathered.float() * real).sum(-2) / real.sum(-2)

    def starting(self, sizes: Tensor, starts: Tensor) -> Layout:
        """The same, where the outputs of a row begin elsewhere in the encoder's sequences.

        Args:
            sizes: [B] int64, encoder outputs of each row, which followed each other.
            starts: [B] int64, where they begin instead.
        """
        by = starts.to(sizes.device) - (sizes.cumsum(0) - sizes)
        return replace(self, patches=moved(self.patches, by.to(self.patches.device)[:, None, None]))

    def lined(self, widths: list[int]) -> Layout:
        """The same, where a separator row ends every line.

        Args:
            widths: tokens of a line, for each item.
        """
        items = zip(torch.split(self.index, self.lengths), widths, strict=True)
        parts = [pad(item.view(-1, width), (0, 1), value=-1).flatten() for item, width in items]
        return replace(self, lengths=[len(part) for part in parts], index=torch.cat(parts))

    def closed(self, ends: list[bool]) -> Layout:
        """The same, where a separator row follows some of the items."""
        items = zip(torch.split(self.index, self.lengths), ends, strict=True)
        parts = [pad(item, (0, int(end)), value=-1) for item, end in items]
        return replace(self, lengths=[len(part) for part in parts], index=torch.cat(parts))

    def spread(self, rows: Tensor) -> Tensor:
        """[R, C] feature rows to [B, N, C]; zero where a token has no row."""
        tokens = rows.new_zeros(self.patches.shape[0] * self.patches.shape[1], rows.shape[-1])
        real = self.index >= 0
        tokens[self.index[real]] = rows[real]
        return tokens.view(*self.patches.shape[:2], -1)


@dataclass(frozen=True)
class Seen:
    """What a family's layout may read.

    Args:
        config: the model's config, with what the call overrides.
        base: the base model.
        call: the keyword arguments of the call.
        pieces: the encoder's features as the model hands them on, one [L, C] an item.
        ids: [B, T] int64, the prompt.
        placeholder: [B, T] bool, where it takes feature rows.
    """

    config: Any
    base: Any
    call: Mapping[str, Any]
    pieces: list[Tensor]
    ids: Tensor
    placeholder: Tensor

    @property
    def runs(self) -> list[list[tuple[int, int]]]:
        """For each prompt its runs of placeholders: (length, the id before it)."""
        found = []
        for ids, here in zip(self.ids.tolist(), self.placeholder.tolist(), strict=True):
            runs: list[tuple[int, int]] = []
            for at, one in enumerate(here):
                if one and at and here[at - 1]:
                    runs[-1] = (runs[-1][0] + 1, runs[-1][1])
                elif one:
                    runs.append((1, ids[at - 1] if at else -1))
            found.append(runs)
        return found

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.pieces[0].device


def raster(grid: tuple[int, int], merge: int, device: torch.device, reach: int = 0) -> Tensor:
    """[h * w, K] the patches of each token, both in reading order over the same square; -1: none.

    Args:
        grid: (h, w) of the tokens.
        merge: patches along a side of a token.
        device: where to.
        reach: patches above and left of its own that a token is made of too, as strided convolutions do it.
    """
    own = torch.arange(-reach, merge, device=device)
    rows, columns = (merge * torch.arange(tokens, device=device)[:, None] + own for tokens in grid)
    y, x = rows[:, None, :, None], columns[None, :, None, :]  # [h or w, merge + reach], negative outside the square
    inside = (y >= 0) & (x >= 0)
    return torch.where(inside, y * grid[1] * merge + x, -1).flatten(2).flatten(0, 1)


def moved(patches: Tensor, by: Tensor | int) -> Tensor:
    """Patches counted from another start; none stays none."""
    return torch.where(patches < 0, patches, patches + by)


def places(grid: tuple[int, int], rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """[B, N, 2] and [B, 2]: place and canvas of rows that are full rectangles."""
    cell = torch.arange(grid[0] * grid[1], device=device)
    place = torch.stack([cell // grid[1], cell % grid[1]], -1).expand(rows, -1, -1)
    return place, torch.tensor(grid, device=device).expand(rows, -1)


def tile_groups(runs: list[list[tuple[int, int]]], count: int, unit: str) -> list[int]:
    """The image of each tile of ``count`` tokens.

    Args:
        runs: see `Seen.runs`.
        count: placeholders of a tile.
        unit: what an image is: one ``tile``, one ``run`` of placeholders, or the runs up to one that is ``marked`` by
            the same id as the last run of its prompt (a whole image after its tiles).
    """
    groups, image = list[int](), 0
    for prompt in runs:
        for length, before in prompt:
            tiles = length // count
            if unit == "tile":
                groups += range(image, image + tiles)
                image += tiles
                continue
            groups += [image] * tiles
            image += unit == "run" or before == prompt[-1][1]
    return groups


def check_rows(seen: Seen, expected: int) -> None:
    """Features and geometry must agree.

    Raises:
        AttachError: they do not.
    """
    got = sum(len(piece) for piece in seen.pieces)
    if got != expected:
        raise AttachError(f"the encoder gave {got} feature rows where its geometry says {expected}")
