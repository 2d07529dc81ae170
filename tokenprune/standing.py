"""What a stage inside the language model chooses from: its tokens, and everything that it may read of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from tokenprune.cue_names import OF_LAYER, PREVIOUS
from tokenprune.levels import Level
from tokenprune.looking import Look
from tokenprune.spans import Spans
from tokenprune.stage import Stage
from tokenprune.tokens import TEXT, Cue, VisualTokens


@dataclass(frozen=True)
class Notes:
    """What can be read where a stage chooses; S columns are left there.

    Args:
        previous: queries, keys, mask and scale of the layer that has run.
        this: those of the layer that is about to run.
        turns: cosine and sine of the rotary position of each column.
        norm: what comes after the last layer. None: there is none.
        changed: [B, S] how far the layer that has run moved each state.
        inputs: [B, P, C] what entered the language model.
        level: what the cache remembers of this stage. None: nothing.
    """

    previous: Callable[[], Any]
    this: Callable[[], Any]
    turns: tuple[Tensor, Tensor] | None
    norm: Callable[[Tensor], Tensor] | None
    changed: Callable[[], Tensor]
    inputs: Tensor | None
    level: Level | None


@dataclass(frozen=True)
class Prompt:
    """The columns of a shortened prompt.

    Args:
        real: [B, P] bool, false where it is padding.
        words: [B, R] int64, the columns of the words of its question.
        spoken: [B, R] bool, false where it has fewer words.
    """

    real: Tensor
    words: Tensor
    spoken: Tensor

    def repeated(self, times: int) -> Prompt:
        """Several sequences of each prompt, side by side."""
        return Prompt(*(part.repeat_interleave(times, 0) for part in (self.real, self.words, self.spoken)))


@dataclass(frozen=True)
class Standing:
    """Where a stage stands.

    Args:
        stage: the stage.
        prompt: the prompt.
        every: all tokens that entered the language model.
        spans: those that are left.
        at: [B, P] int64, where columns of the prompt stand among the S that are left.
        states: [B, S, C] what would enter the layer.
        notes: what can be read there.
        scores: as in `tokenprune.reading.Reading`.
    """

    stage: Stage
    prompt: Prompt
    every: Spans
    spans: Spans
    at: Tensor
    states: Tensor
    notes: Notes
    scores: Callable[[Spans], Tensor] | None

    def tokens(self) -> VisualTokens:
        """One row an image, with its cues."""
        spans = self.spans
        given = {"valid": spans.valid, "sample": spans.sample, **spans.geometry}
        return VisualTokens(self._space(self.place), cues=self._cues(), **given)

    @cached_property
    def place(self) -> Tensor:
        """[I, M] int64, where tokens stand among the columns that are left."""
        return self._find(self.spans.column)

    @cached_property
    def _sample(self) -> Tensor:
        """[I] int64, the prompt of each image."""
        return self.spans.sample.to(self.at.device)

    @cached_property
    def _words(self) -> Tensor:
        """[I, R] int64, where the words of its prompt stand."""
        return self._find(self.prompt.words[self._sample])

    def _find(self, column: Tensor) -> Tensor:
        """[I, M] columns of the prompt, among those that are left; 0 for those that are not."""
        return self.at[self._sample].gather(1, column).clamp(min=0)

    def _space(self, place: Tensor) -> Tensor:
        """[I, M, C] where similarity is measured."""
        normed = self.stage.space == "normed" and self.notes.norm is not None
        states = self.notes.norm(self.states) if normed else self.states  # type: ignore[misc]  # not None, as asked
        return states[self._sample[:, None], place]

    def _cues(self) -> dict[str, Cue]:
        """Everything that the parts of the stage may read."""
        sample, spoken = self._sample, self.prompt.spoken[self._sample]
        cues: dict[str, Cue] = {name: partial(self._outside, name) for name in self.spans.tokens.cues}
        for one in (name for wish in self.stage.reads_inside for name in wish.split("|")):
            kind, _, where = one.partition("@")
            if kind in OF_LAYER:
                cues[one] = partial(self._look, where, kind)
        cues["layer_change"] = lambda: self.notes.changed()[sample].gather(1, self.place)
        cues["text_states"] = lambda: self._space(self._words) * spoken[..., None]
        if (inputs := self.notes.inputs) is not None:
            cues["inputs"] = lambda: inputs[sample[:, None], self.every.column] * self.every.valid[..., None]
        if (scores := self.scores) is not None:
            cues[PREVIOUS] = lambda: scores(self.spans)
        return cues

    def _look(self, where: str, kind: str) -> Tensor:
        return (self._this if where == "this" else self._previous).cue(kind)

    @cached_property
    def _this(self) -> Look:
        return self._look_of(self.notes.this())

    @cached_property
    def _previous(self) -> Look:
        return self._look_of(self.notes.previous())

    def _look_of(self, seen: Any) -> Look:
        query, key, mask, scale = seen
        last = self.at.masked_fill(~self.prompt.real, -1).amax(1)[self._sample]  # of what is left of the prompt
        places = (self.place, self.spans.valid, self._words, self.prompt.spoken[self._sample], last, self._sample)
        return Look(query, key, mask, scale, self.notes.turns, *places)

    def _outside(self, name: str) -> Tensor:
        """A cue that was read before the language model; those of text belong to a prompt."""
        value = self.spans.tokens.cue(name)
        if name not in TEXT:
            return self.spans.gathered(value)
        return value[(self.spans.token[:, 0] // self.spans.tokens.shape[1]).to(value.device)]
