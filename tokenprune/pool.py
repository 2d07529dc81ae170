"""Several rows laid end to end and chosen from as one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tokenprune.selection import Selection
from tokenprune.tokens import TEXT, Cue, VisualTokens


@dataclass(frozen=True)
class Pool:
    """Where each pooled token came from.

    Args:
        index: [G, M] int64 into the flattened [B * N] tokens; 0 where nothing is.
        filled: [G, M] bool.
        shape: (B, N) of the rows.
    """

    index: Tensor
    filled: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, tokens: VisualTokens, units: list[list[int]]) -> Pool:
        """Lay the rows of each unit end to end; shorter units are padded."""
        count = tokens.shape[1]
        index = torch.zeros(len(units), max(map(len, units)) * count, dtype=torch.int64)
        filled = torch.zeros_like(index, dtype=torch.bool)
        for unit, rows in enumerate(units):
            index[unit, : len(rows) * count] = (torch.tensor(rows)[:, None] * count + torch.arange(count)).flatten()
            filled[unit, : len(rows) * count] = True
        return cls(index.to(tokens.device), filled.to(tokens.device), tokens.shape)

    def gather(self, value: Tensor) -> Tensor:
        """[B, N, ...] to [G, M, ...]."""
        return value.flatten(0, 1)[self.index]

    def tokens(self, tokens: VisualTokens, units: list[list[int]]) -> VisualTokens:
        """The same tokens as G rows."""
        valid = self.filled if tokens.valid is None else self.filled & self.gather(tokens.valid)
        first = torch.tensor([rows[0] for rows in units])
        return replace(
            tokens,
            features=self.gather(tokens.features),
            cues={name: self._cue(tokens, name, first) for name in tokens.cues},
            valid=valid,
            place=None,  # rows of one unit may have maps of their own
            canvas=None,
            group=tokens.group[first],
            sample=tokens.sample[first],
            overview=None,
            marked=None,
        )

    def _cue(self, tokens: VisualTokens, name: str, first: Tensor) -> Cue:
        def pooled() -> Tensor:
            value = tokens.cue(name)  # so that they too know it was read
            if name in TEXT:  # [B, M, C] of the prompt, which rows of one unit share
                return value[first]
            if value.ndim == 2:  # [B, N]
                return self.gather(value)
            return self.gather(value.transpose(1, 2)).transpose(1, 2)  # [B, H, N] -> [G, H, M]

        return pooled

    def spread(self, selection: Selection) -> Selection:
        """A selection of pooled rows as one of the rows they came from."""
        merge, merged = selection.merge, self._spread(selection.merged)
        if merge is not None:
            places = self.index.masked_fill(~self.filled, -1).flatten()
            merge = replace(merge.at(places), carriers=merged)
        return Selection(self._spread(selection.important), self._spread(selection.diverse), merged, merge)

    def _spread(self, mask: Tensor) -> Tensor:
        flat = torch.zeros(self.shape[0] * self.shape[1], dtype=torch.uint8, device=mask.device)
        flat.scatter_add_(0, self.index.flatten(), (mask & self.filled).flatten().byte())
        return flat.view(self.shape).bool()
