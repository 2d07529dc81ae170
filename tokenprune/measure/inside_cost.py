"""What a stage inside the language model costs: reading a layer without weights, and choosing among drawn tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.cue_names import OF_LAYER, PREVIOUS
from tokenprune.cues import peek
from tokenprune.looking import Look
from tokenprune.measure.flops import flops
from tokenprune.measure.layers import LanguageCost
from tokenprune.measure.meta import real, running_without_weights
from tokenprune.pipeline import Pipeline
from tokenprune.stage import Stage
from tokenprune.standard_layers import attention_of
from tokenprune.tokens import TEXT, Cue, VisualTokens


@dataclass(frozen=True)
class Place:
    """Where a stage stands, in a prompt of one image.

    Args:
        layer: the layer before which it runs.
        tokens: visual tokens that are left there.
        slots: of the prompt, visual tokens among them.
        words: of the question.
    """

    layer: int
    tokens: int
    slots: int
    words: int

    @property
    def columns(self) -> tuple[int, int, int]:
        """How many columns the visual tokens, the words and the last token of the prompt have."""
        return self.tokens, self.words, 1


def count_inside(
    language: LanguageCost, pipeline: Pipeline, tokens: VisualTokens, budgets: list[Budget], count: int, around: int
) -> tuple[list[int], int, int]:
    """Visual tokens in each layer, FLOPs of reading what stages go by, and FLOPs of choosing.

    Args:
        language: the language model on the meta device.
        pipeline: its stages inside the language model, if there are any.
        tokens: those of the image before the language model.
        budgets: what each stage keeps.
        count: tokens that enter.
        around: slots of separators and text.
    """
    depth, cue, choice = language.depth, 0, 0
    left, words = [count] * depth, tokens.cue("question").shape[1]
    if not pipeline.inside:
        return left, cue, choice
    layers = [layer for layer in pipeline.plan(depth).layers if layer]
    for stage, layer, budget in zip(pipeline.inside, layers, budgets[-len(layers) :], strict=True):
        place = Place(layer, left[layer], left[layer] + around, words)
        keeps = sum(most for _, most in budget.units(tokens))
        read, chosen, count = count_stage(language, stage, place, keeps, tokens)
        left[layer:] = [count] * (depth - layer)
        cue, choice = cue + read, choice + chosen
    return left, cue, choice


def count_stage(
    language: LanguageCost, stage: Stage, place: Place, keeps: int, outside: VisualTokens
) -> tuple[int, int, int]:
    """FLOPs of reading what a stage goes by, FLOPs of choosing, and the tokens that stay.

    Args:
        language: the language model on the meta device.
        stage: the stage.
        place: where it stands.
        keeps: what its budget comes to.
        outside: the tokens before the language model, with the cues that were read there.
    """
    spent, cues = _read(language, stage, place)
    tokens = _drawn(language, place, cues, outside)
    with flops() as counted, torch.no_grad():
        selection = stage.select(tokens, Budget.counted([keeps]))
    return spent, counted.total, int(selection.mask.sum())


def _read(language: LanguageCost, stage: Stage, place: Place) -> tuple[int, dict[str, Tensor]]:
    """FLOPs, and the cues of layers that a stage reads, without values.

    The layer that has run is read as it runs; the one that is about to run computes its queries and keys for this.
    """
    first = [wish.split("|")[0] for wish in sorted(stage.reads_inside)]
    wishes = {name: name.endswith("@this") for name in first if name.partition("@")[0] in OF_LAYER}
    looks, spent = {}, 0
    for this in sorted(set(wishes.values())):
        looks[this], peeked = _look(language, place, this)
        spent += peeked if this else 0
    with flops() as counted, torch.no_grad(), running_without_weights():
        cues = {name: looks[this].cue(name.partition("@")[0]) for name, this in wishes.items()}
    return spent + counted.total, cues


def _look(language: LanguageCost, place: Place, this: bool) -> tuple[Look, int]:
    """What one layer looks at, without values, and the FLOPs of its queries and keys."""
    layer = language.layers[place.layer - (not this)]
    states, given = language.given(layer, place.slots)
    with flops() as counted, torch.no_grad(), running_without_weights():
        query, key, mask, scale = peek(layer, attention_of(layer), states, given)
    column, words, one = (torch.zeros(1, count, dtype=torch.int64, device="meta") for count in place.columns)
    there, turns = (column.bool(), words.bool()), given.get("position_embeddings")
    return Look(query, key, mask, scale, turns, column, there[0], words, there[1], one[0], one[0]), counted.total


def _drawn(language: LanguageCost, place: Place, cues: dict[str, Tensor], outside: VisualTokens) -> VisualTokens:
    """Tokens [1, M, C] with values and cues that are drawn."""
    generator = torch.Generator().manual_seed(place.layer)
    width, count = language.width, place.tokens

    def draw(*shape: int) -> Tensor:
        return real(torch.empty(shape, device="meta"), generator, positive=True)

    found: dict[str, Cue] = {name: draw(*value.shape) for name, value in cues.items()}
    for name in outside.cues:
        like = outside.cue(name)
        found[name] = draw(1, *like.shape[1:]) if name in TEXT else draw(1, *like.shape[1:-1], count)
    found |= {"layer_change": draw(1, count), PREVIOUS: draw(1, count)}
    found |= {"text_states": draw(1, place.words, width), "inputs": draw(1, count, width)}
    return VisualTokens(draw(1, count, width), cues=found, **_geometry(outside, count))


def _geometry(outside: VisualTokens, count: int) -> dict[str, Any]:
    """Some places in the map of an image that is one rectangle; nothing of others."""
    if outside.grid is None or len(outside.group) > 1 or outside.place is None:
        return {}
    return {"place": outside.place[:, :count], "canvas": outside.canvas}
