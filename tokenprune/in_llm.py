"""Stages inside the language model: fewer columns from a layer on, while the layers below it hold all of them.

Hooks before the layers shorten what they are given: hidden states once, at the layer of a stage; masks and rotary
positions at every layer from there on, because the model makes these for the columns that its first layer holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tokenprune.cue_names import OF_LAYER
from tokenprune.cues import peek, tap
from tokenprune.family import Family, Model, submodule
from tokenprune.levels import Level, held, keep_levels, levels_of
from tokenprune.pipeline import Pipeline
from tokenprune.reading import Reading
from tokenprune.rows import Rows
from tokenprune.standard_layers import attention_of, turned
from tokenprune.standing import Notes

Given = dict[str, Any]


class InLlm:
    """The hooks of one attachment; they do nothing but while a prompt is read, and on caches of such prompts."""

    def __init__(self, family: Family, model: Model, pipeline: Pipeline) -> None:
        self.language = submodule(model.base_model, family.language_model)
        self.layers = self.language.layers
        self.plan = pipeline.plan(len(self.layers))
        self.stages = dict(zip([at for at in self.plan.layers if at], pipeline.inside, strict=True))
        self._next: Reading | None = None  # what is read as soon as the language model runs, unless it is asleep
        self._asleep = False
        self._now: Reading | None = None
        self._made: dict[Any, Any] = {}
        self._nth, self._watched = -1, ExitStack()
        self._entered, self._seen = torch.empty(0), list[Any]()
        self._inputs: Tensor | None = None
        hooks = [self.language.register_forward_pre_hook(self._enter, with_kwargs=True)]
        for at in range(min(self.stages) - 1, len(self.layers)):
            hook = partial(self._before, at)
            hooks.append(self.layers[at].register_forward_pre_hook(hook, with_kwargs=True))
        self._hooks = [*hooks, self.language.register_forward_hook(self._leave)]
        if hasattr(self.language, "_deepstack_process"):
            vars(self.language)["_deepstack_process"] = self._deepstack

    def remove(self) -> None:
        """Leave the language model as it was."""
        for hook in self._hooks:
            hook.remove()
        vars(self.language).pop("_deepstack_process", None)

    @contextmanager
    def reads(self, reading: Reading | None) -> Iterator[None]:
        """What the language model reads next is this prompt; None: one that stays whole."""
        before = self._next, self._now, self._asleep
        self._next, self._asleep = reading, False
        try:
            yield
        finally:
            self._watched.close()
            self._next, self._now, self._asleep = before
            self._made, self._seen, self._inputs = {}, [], None
            self._entered = torch.empty(0)

    @contextmanager
    def part(self, call: Mapping[str, Any]) -> Iterator[None]:
        """One run of the model amid a generation; one that brings no images is about something else, or decodes."""
        before, self._asleep = self._asleep, not call.get("mm_encoder_outputs")
        try:
            yield
        finally:
            self._asleep = before

    def _enter(self, _: Any, args: tuple[Any, ...], given: Given) -> None:
        self._nth, self._made, self._now = -1, {}, None if self._asleep else self._next
        if self._now is not None:
            self._inputs = given.get("inputs_embeds")

    def _leave(self, _: Any, args: tuple[Any, ...], output: Any) -> Any:
        """What comes out has the columns that went in; a prompt that is in a cache is not read again."""
        reading, self._now, self._made = self._now, None, {}
        if reading is None:
            return None
        reading.scores, self._seen, self._inputs, self._entered = None, [], None, torch.empty(0)  # decoding needs room
        if output.get("past_key_values") is not None:
            self._next = None
        output["last_hidden_state"] = reading.left[-1].rows.restored(output.last_hidden_state)
        return output

    def _before(self, at: int, layer: Any, args: tuple[Any, ...], given: Given) -> tuple[tuple[Any, ...], Given] | None:
        """What a layer is given, cut to the columns that are left."""
        states = args[0] if args else given["hidden_states"]
        if self._now is None:
            levels = levels_of(given.get("past_key_values"))
            nth = sum(level.layer <= at for level in levels) - 1
            return (args, self._cut(nth, levels[nth], None, at, states, given)) if nth >= 0 else None
        states, given = self._read(self._now, at, layer, states, given)
        return ((states, *args[1:]), given) if args else (args, {**given, "hidden_states": states})

    def _read(self, reading: Reading, at: int, layer: Any, states: Tensor, given: Given) -> tuple[Tensor, Given]:
        """The same while a prompt is read."""
        nth = sum(site <= at for site in self.stages) - 1
        if at in self.stages:
            if len(reading.left) == nth:
                before = self._at(nth - 1, reading, at, states, given)
                self._decide(reading, at, layer, states, before)
            states = reading.left[nth].cut(states)
        self._nth = nth
        if at + 1 in self.stages and len(reading.left) == nth + 1:
            self._watch(at + 1, layer, states)
        return states, self._at(nth, reading, at, states, given)

    def _at(self, nth: int, reading: Reading, at: int, states: Tensor, given: Given) -> Given:
        """What a layer of a level is given."""
        if nth < 0:
            return given
        return self._cut(nth, reading.levels[nth], reading.left[nth].rows, at, states, given)

    def _watch(self, at: int, layer: Any, states: Tensor) -> None:
        """Note what the stage before layer ``at`` reads of the layer below it."""
        self._watched.close()
        self._entered, self._seen = states, []
        wishes = [wish.partition("@") for many in self.stages[at].reads_inside for wish in many.split("|")]
        if any(kind in OF_LAYER and where != "this" for kind, _, where in wishes):
            self._watched.enter_context(tap(attention_of(layer), self._note))

    def _note(self, *seen: Any) -> Tensor:
        self._seen.append(seen)
        return seen[0]  # type: ignore[no-any-return]

    def _decide(self, reading: Reading, at: int, layer: Any, states: Tensor, given: Given) -> None:
        """Let the stage before layer ``at`` choose; ``given`` is cut to the level below."""
        self._watched.close()
        nth, cache, count = len(reading.left), given.get("past_key_values"), states.shape[1]
        if not nth:
            reading.expand(len(states))
        below = reading.left[-1].rows.source.shape[1] if nth else reading.prompt.real.shape[1]
        past = 0 if cache is None else int(cache.get_seq_length()) - reading.prompt.real.shape[1] - (count - below)
        entered, levels = self._entered, levels_of(cache) if past else ()
        total = held(cache, at - 1) or count  # keys of the layer below
        behind = total - count  # of them those of earlier turns
        notes = Notes(
            previous=lambda: _first(self._seen[0], total),
            this=lambda: peek(layer, attention_of(layer), states, _of_turn(given, behind, count)),
            turns=given.get("position_embeddings"),
            norm=getattr(self.language, "norm", None),
            changed=lambda: (states - entered).float().norm(dim=-1),
            inputs=self._inputs,
            level=levels[nth] if len(levels) > nth else None,
        )
        reading.decide(self.stages[at], at, states, notes, past)
        if cache is not None:
            keep_levels(cache, (*reading.levels, *levels[nth + 1 :]))

    def _cut(self, nth: int, level: Level, rows: Rows | None, at: int, states: Tensor, given: Given) -> Given:
        """What a layer is given, cut to a level; made once for all layers of a stage."""
        level = level.repeated(len(states)).to(states.device)
        rows = rows if rows is None else rows.to(states.device)
        cache, cut = given.get("past_key_values"), dict(given)
        places, ids = given.get("position_embeddings"), given.get("position_ids")
        kind = self.language.config._attn_implementation or "eager"
        if level.renumbers:
            turns = partial(turned, self.language, states)
            cut["position_embeddings"] = self._once((nth, "places"), lambda: turns(level.ids(rows, ids)))
        elif rows is not None and places is not None:
            cut["position_embeddings"] = self._once((nth, "places"), lambda: tuple(rows.cut(one, -2) for one in places))
        if rows is not None and ids is not None:
            cut["position_ids"] = None if "flash" in kind else rows.cut(ids, -1)  # gaps would be read as borders
        held = cache.layers[at] if cache is not None and at < len(cache.layers) else None
        mask = given.get("attention_mask")
        cut["attention_mask"] = self._once((nth, "mask"), lambda: level.mask(mask, rows, held, states, kind))
        return cut

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _deepstack(self, states: Tensor, visual: Tensor, embeds: Tensor) -> Tensor:
        """The same for features that are added between layers: those of the columns that are left."""
        if self._now is not None and self._nth >= 0:
            rows = self._now.left[self._nth].rows
            number = (visual.flatten().cumsum(0) - 1).view(visual.shape)
            number = rows.cut(number, -1)
            visual = rows.cut(visual, -1) & rows.there(states.shape[1])
            embeds = embeds[number[visual]]
        return type(self.language)._deepstack_process(self.language, states, visual, embeds)  # type: ignore[no-any-return]


def _first(seen: Any, total: int) -> Any:
    """Queries, keys, mask and scale; a static cache gives all of its room, of which this much is filled."""
    query, key, mask, scale = seen
    return query, key[:, :, :total], None if mask is None else mask[..., :total], scale


def _of_turn(given: Given, behind: int, count: int) -> Given:
    """What a layer is given, without what earlier turns left in the cache."""
    mask = given.get("attention_mask")
    mask = None if mask is None else mask[..., behind : behind + count]
    return {**given, "attention_mask": mask, "past_key_values": None}
