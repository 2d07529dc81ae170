"""What one layer of the language model looks at, as cues of the tokens that are left.

Queries and keys are read where the layer computes them; the model keeps its own attention kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from einops import rearrange
from torch import Tensor

_QUERIES = 64


@dataclass(frozen=True)
class Look:
    """Queries and keys of one layer, and the columns that its cues are about.

    Args:
        query: [B, H, S, d], after rotation.
        key: [B, Hkv, K, d]; the last S belong to the columns of the queries.
        mask: what may be attended to, bool or additive, broadcasts to [B, H, S, K]. None: everything.
        scale: of the logits.
        turns: [b, S, r] two tables, cosine and sine of each column's rotary position. None: there is none.
        column: [I, M] int64, the columns of the visual tokens of each row; ``valid`` [I, M] bool.
        words: [I, R] int64, the columns of the words of its prompt; ``real`` [I, R] bool.
        last: [I] int64, the column of the last token of its prompt.
        sample: [I] int64, its prompt.
    """

    query: Tensor
    key: Tensor
    mask: Tensor | None
    scale: float
    turns: tuple[Tensor, Tensor] | None
    column: Tensor
    valid: Tensor
    words: Tensor
    real: Tensor
    last: Tensor
    sample: Tensor

    def cue(self, name: str) -> Tensor:
        """One of `tokenprune.tokens.OF_LAYER`, float32."""
        of: dict[str, Callable[[], Tensor]] = {
            "last_attention": lambda: self._attention(self.last[:, None])[:, :, 0],
            "text_attention": lambda: self._attention(self.words) * self.real[:, None, :, None],
            "visual_attention": self._visual,
            "last_prior": lambda: self._prior(self.last[:, None])[:, 0],
            "text_prior": lambda: self._prior(self.words) * self.real[..., None],
            "keys": lambda: self._keys(self.column).flatten(2).mT,
            "mean_keys": lambda: self._keys(self.column).mean(2).mT,
            "text_keys": lambda: self._keys(self.words).flatten(2) * self.real[..., None],
        }
        return of[name]()

    @property
    def _before(self) -> int:
        """Keys of earlier columns."""
        return self.key.shape[2] - self.query.shape[2]

    def _weights(self, rows: Tensor) -> Tensor:
        """[I, H, R, K] float32, the attention of the queries at columns ``rows`` [I, R]."""
        query = self.query[self.sample].take_along_dim(rows[:, None, :, None], 2).float()  # [I, H, R, d]
        groups = query.shape[1] // self.key.shape[1]
        logits = rearrange(query, "i (k g) r d -> i k (g r) d", g=groups) @ self._every_key.mT
        return self._softmax(rearrange(logits, "i k (g r) n -> i (k g) r n", g=groups) * self.scale, rows)

    @cached_property
    def _every_key(self) -> Tensor:
        """[I, Hkv, K, d] float32."""
        return self.key[self.sample].float()

    def _softmax(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Over the keys that each query may look at."""
        if self.mask is None:
            return logits.softmax(-1)
        mask = self.mask if self.mask.shape[0] == 1 else self.mask[self.sample]
        if mask.shape[2] > 1:
            mask = mask.take_along_dim(rows[:, None, :, None], 2)
        added = mask.float() if mask.dtype != torch.bool else (~mask).float() * torch.finfo(torch.float32).min
        return (logits + added).softmax(-1)

    def _at_tokens(self, weights: Tensor) -> Tensor:
        """[I, H, R, K] to [I, H, R, M]."""
        return weights.take_along_dim(self.column[:, None, None] + self._before, -1)

    def _attention(self, rows: Tensor) -> Tensor:
        return self._at_tokens(self._weights(rows))

    def _visual(self) -> Tensor:
        """[I, M], a few queries at a time, so that memory is O(queries * K)."""
        total = torch.zeros(self.column.shape, device=self.column.device)
        for start in range(0, self.column.shape[1], _QUERIES):
            some, real = self.column[:, start : start + _QUERIES], self.valid[:, start : start + _QUERIES]
            total += (self._attention(some) * real[:, None, :, None]).mean(1).sum(1)
        return total / self.valid.sum(1, keepdim=True).clamp(min=1)

    def _prior(self, rows: Tensor) -> Tensor:
        """[I, R, M]: attention were all queries and keys ones before rotation, so that position alone counts.

        Two such vectors, turned by angles a and b, have the product 2 cos(a - b) in every plane. Of earlier turns' keys
        positions are not known any more: they count as those that are too far off for the planes to agree, with 0.
        """
        if self.turns is None:
            logits = torch.zeros(*rows.shape, self.key.shape[2], device=rows.device)
        else:
            cos, sin = (_rows(table.float(), len(self.query))[self.sample] for table in self.turns)  # [I, S, r]
            ours = [table.take_along_dim(rows[..., None], 1) for table in (cos, sin)]
            logits = ours[0] @ cos.mT + ours[1] @ sin.mT
            logits = torch.nn.functional.pad(logits * self.scale, (self._before, 0))
        return self._at_tokens(self._softmax(logits[:, None], rows))[:, 0]

    def _keys(self, rows: Tensor) -> Tensor:
        """[I, R, Hkv, d] float32."""
        index = (rows + self._before)[:, None, :, None]
        return self._every_key.take_along_dim(index, 2).transpose(1, 2)


def _rows(table: Tensor, batch: int) -> Tensor:
    """[b, S, r] of every sequence; of several axes the first, which counts text."""
    table = table[0] if table.ndim == 4 else table
    return table if len(table) == batch else table.expand(batch, -1, -1)
