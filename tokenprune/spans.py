"""Where the tokens of each image stand in a prompt: the rows of the stages inside the language model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tokenprune.modality import Visuals
from tokenprune.prompt import Columns
from tokenprune.selection import Selection
from tokenprune.tokens import VisualTokens


@dataclass(frozen=True)
class Spans:
    """One row an image or video, with all of its tokens that entered the language model.

    Args:
        column: [I, M] int64, the column of each token in the shortened prompt; 0 where ``valid`` is false.
        valid: [I, M] bool, false where an image has fewer tokens.
        token: [I, M] int64, the flattened token before the language model.
        number: [I, M] int64, which of its image's own tokens it is.
        sample: [I] int64 on the host, the prompt of each image.
        counts: tokens that each image had at first.
        tokens: the tokens before the language model.
    """

    column: Tensor
    valid: Tensor
    token: Tensor
    number: Tensor
    sample: Tensor
    counts: tuple[int, ...]
    tokens: VisualTokens

    @classmethod
    def of(cls, visuals: Visuals, selection: Selection, columns: Columns) -> Spans:
        """Find every token that stays.

        Args:
            visuals: what the call brings.
            selection: what stays of it.
            columns: where the columns of the prompt went.
        """
        tokens = visuals.tokens
        at, batch = columns.at(), tokens.shape[0] * tokens.shape[1]
        column = torch.full((batch,), -1, dtype=torch.int64, device=at.device)
        for part in visuals.parts:
            index = part.encoded.index.to(at.device)
            column[index[index >= 0]] = at[part.placeholder][index >= 0]
        column = column.view(tokens.shape).masked_fill(~selection.mask.to(at.device), -1)
        groups = sorted(set(tokens.group.tolist()))  # the order of the prompts, as in the receipt
        rows = [(tokens.group == group).nonzero()[:, 0] for group in groups]
        there = [_real(tokens, row) for row in rows]
        found = [(column[row].flatten() >= 0).nonzero()[:, 0] for row in rows]
        counts = tuple(int(one.sum()) for one in there)
        flat = [(row[:, None] * tokens.shape[1] + torch.arange(tokens.shape[1])).flatten() for row in rows]
        token = _stacked([one.to(at.device)[here] for one, here in zip(flat, found, strict=True)])
        number = _stacked([(one.cumsum(0) - 1).to(at.device)[here] for one, here in zip(there, found, strict=True)])
        valid = _stacked([torch.ones_like(here) for here in found]).bool()
        sample = torch.stack([tokens.sample[row[0]] for row in rows])
        column = column.flatten()[token].masked_fill(~valid, 0)
        return cls(column, valid, token, number, sample, counts, tokens)

    def repeated(self, times: int) -> Spans:
        """Those of ``times`` sequences of each prompt, side by side."""
        if times == 1:
            return self
        moved: dict[str, Any] = {
            one.name: value.repeat_interleave(times, 0)
            for one in fields(self)
            if isinstance(value := getattr(self, one.name), Tensor)
        }
        nth = torch.arange(times).repeat(len(self.sample))
        moved["sample"] = moved["sample"] * times + nth
        return replace(self, **moved, counts=tuple(count for count in self.counts for _ in range(times)))

    def left(self, stays: Tensor) -> Spans:
        """Those tokens whose column is left, closed up; ``stays`` is [B, P] bool."""
        alive = stays[self.sample.to(stays.device)].gather(1, self.column) & self.valid
        order = alive.byte().argsort(dim=1, stable=True, descending=True)
        order = order[:, : max(1, int(alive.sum(1).max()))]
        column, token, number = (part.gather(1, order) for part in (self.column, self.token, self.number))
        alive = alive.gather(1, order)
        return replace(self, column=column.masked_fill(~alive, 0), token=token, number=number, valid=alive)

    def gathered(self, value: Tensor) -> Tensor:
        """A cue [B, N] or [B, X, N] before the language model, of the tokens that are left: [I, .., M]."""
        if value.ndim == 2:
            return value.flatten()[self.token.to(value.device)]
        flat = value.transpose(0, 1).flatten(1)  # [X, B * N]
        return flat[:, self.token.to(value.device)].transpose(0, 1)

    @property
    def geometry(self) -> dict[str, Any]:
        """``place`` and ``canvas`` where every image is one row."""
        tokens = self.tokens
        if tokens.place is None or tokens.canvas is None or len(set(tokens.group.tolist())) < tokens.shape[0]:
            return {}
        row = self.token[:, 0].to(tokens.canvas.device) // tokens.shape[1]
        return {"place": tokens.place.flatten(0, 1)[self.token.to(tokens.place.device)], "canvas": tokens.canvas[row]}


def _real(tokens: VisualTokens, rows: Tensor) -> Tensor:
    """[n * N] bool, which of the tokens of some rows reach the language model."""
    return (
        torch.ones(len(rows) * tokens.shape[1], dtype=torch.bool)
        if tokens.valid is None
        else tokens.valid[rows.to(tokens.valid.device)].flatten().cpu()
    )


def _stacked(values: list[Tensor]) -> Tensor:
    """[I, M], zeros behind those that are shorter; M is one at least."""
    found = torch.nn.utils.rnn.pad_sequence([*values], batch_first=True)
    return found if found.shape[1] else found.new_zeros(len(found), 1)
