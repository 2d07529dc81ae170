"""One prompt on its way through the language model: what each stage inside it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.errors import UnsupportedMode
from tokenprune.levels import Level
from tokenprune.rows import Rows
from tokenprune.selection import Selection
from tokenprune.spans import Spans
from tokenprune.stage import Stage
from tokenprune.standing import Notes, Prompt, Standing


@dataclass(frozen=True)
class Left:
    """What a stage left.

    Args:
        spans: the tokens it chose from; ``column`` counts columns of the prompt.
        place: [I, M] int64, where they stood among the columns that were left.
        selection: what it chose.
        rows: the columns that reach the layers from it on.
        read: the cues it read.
    """

    spans: Spans
    place: Tensor
    selection: Selection
    rows: Rows
    read: tuple[str, ...]

    def cut(self, states: Tensor) -> Tensor:
        """[B, m + tail, C] to what is left of it, after folding what the stage folds."""
        if self.selection.merge is not None:
            batch, count, width = states.shape
            flat = self.spans.sample.to(states.device)[:, None] * count + self.place
            flat = flat[self.spans.valid]
            old = states.reshape(-1, width)
            places = torch.full((self.spans.valid.numel(),), -1, device=states.device)
            places[self.spans.valid.flatten()] = torch.arange(len(flat), device=states.device)
            new = self.selection.merge.at(places).apply(old[flat])
            states = old.index_put((flat,), new).view(batch, count, width)
        return self.rows.cut_states(states)


@dataclass
class Reading:
    """The prompt that the language model reads in this call.

    Args:
        spans: the tokens of its images.
        prompt: its columns.
        budgets: what each stage inside the language model keeps of each image.
        renumber: whether position ids close the gaps.
        scores: of the stage before, at the tokens that are left. None: there is none.
        left: what the stages left so far.
        levels: the same, with what was in the cache.
        times: sequences of each prompt that are read side by side.
    """

    spans: Spans
    prompt: Prompt
    budgets: list[tuple[int, ...]]
    renumber: bool
    scores: Callable[[Spans], Tensor] | None = None
    left: list[Left] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    times: int = 1

    def expand(self, rows: int) -> None:
        """Several sequences of each prompt, side by side, are read at once."""
        self.times = times = rows // len(self.prompt.real)
        if times == 1:
            return
        self.spans, self.prompt = self.spans.repeated(times), self.prompt.repeated(times)
        self.budgets = [tuple(one for one in each for _ in range(times)) for each in self.budgets]

    def decide(self, stage: Stage, layer: int, states: Tensor, notes: Notes, past: int) -> None:
        """Choose what reaches a layer.

        Args:
            stage: what chooses.
            layer: the layer.
            states: [B, S, C] what would enter it.
            notes: what can be read there.
            past: columns in the cache before the prompt.
        """
        rows = self.left[-1].rows if self.left else None
        stays = torch.ones_like(self.prompt.real) if rows is None else rows.stays
        spans = self.spans.left(stays)
        at = torch.arange(stays.shape[1], device=stays.device).expand_as(stays) if rows is None else rows.at()
        standing = Standing(stage, self.prompt, self.spans, spans, at, states.detach(), notes, self.scores)
        with torch.no_grad():
            tokens = standing.tokens()
            selection = stage.select(tokens, Budget.counted(self.budgets[len(self.left)]))
        stays = _without(stays, spans, ~selection.mask)
        _refuse_empty(self.prompt.real, stays, layer)
        moved = (self.prompt.real & ~stays).cumsum(-1) * self.renumber  # [B, P]
        shift = moved[:, -1]
        before = None if notes.level is None else notes.level.repeated(len(stays))
        moved = moved if before is None else moved + before.shift[:, None]
        found = Rows.of(stays, self.prompt.real, rows, moved)
        whole = bool(found.filled.all())
        level = Level(layer, found.source, found.filled, stays.shape[1], shift, whole, self.renumber)
        self.left.append(Left(spans, standing.place, selection, found, tokens.cues_read))
        self.levels.append(level.after(before, past))
        self.scores = lambda left: _spread(spans, stage.scores(tokens), left)


def _refuse_empty(real: Tensor, stays: Tensor, layer: int) -> None:
    empty = real.any(-1) & ~(stays & real).any(-1)
    if bool(empty.any()):
        raise UnsupportedMode(
            f"nothing of prompt {', '.join(map(str, empty.nonzero()[:, 0].tolist()))} is left for layer {layer}: it is "
            "images alone and the budget keeps none of them; add text, or keep a token"
        )


def _without(stays: Tensor, spans: Spans, dropped: Tensor) -> Tensor:
    """[B, P] bool: ``stays`` without the columns of the tokens that are ``dropped`` [I, M]."""
    batch, length = stays.shape
    flat = spans.sample.to(stays.device)[:, None] * length + spans.column
    flat = torch.where(spans.valid & dropped, flat, batch * length)
    gone = torch.zeros(batch * length + 1, dtype=torch.bool, device=stays.device)
    gone[flat.flatten()] = True
    return stays & ~gone[:-1].view(batch, length)


def _spread(spans: Spans, scores: Tensor, left: Spans) -> Tensor:
    """[I, M] scores of the tokens of ``spans``, at those of them that are ``left``."""
    most = max(spans.counts)
    wide = scores.new_zeros(len(scores), most + 1)
    return wide.scatter(1, spans.number.masked_fill(~spans.valid, most), scores).gather(1, left.number)
