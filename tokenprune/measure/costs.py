"""FLOPs and cache of pipelines at budgets, of a model that need not be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tokenprune.configs import laid_out
from tokenprune.entry import budgets_of, enter
from tokenprune.errors import BudgetError, UnsupportedMode
from tokenprune.family import Family, Model, family_of
from tokenprune.listen import cue_sources
from tokenprune.measure.blank import blank_pixels, words_after
from tokenprune.measure.conventions import Convention, by_formula
from tokenprune.measure.flops import flops
from tokenprune.measure.inside_cost import count_inside
from tokenprune.measure.layers import LanguageCost
from tokenprune.measure.sizes import Described
from tokenprune.measure.vision_cost import VisionCost, asked, count_vision, random_tokens
from tokenprune.pipeline import Pipeline
from tokenprune.placeholders import Size
from tokenprune.seams import check_seams
from tokenprune.standard_layers import check_inside
from tokenprune.tokens import OF_NO_LAYER, VisualTokens


@dataclass(frozen=True)
class Cost:
    """One pipeline at one budget, or the model as it is.

    Args:
        pipeline: its name. None: all tokens.
        budget: as it was asked for. None: all tokens.
        tokens: visual tokens that each layer of the language model gets.
        slots: of each layer, text and separators among them.
        vision: FLOPs of the vision encoder.
        projector: FLOPs of the projector.
        cue: FLOPs of reading what the pipeline goes by.
        selection: FLOPs of choosing.
        prefill: FLOPs of the language model's prefill.
        decode: FLOPs of the first token after it.
        cache: elements of keys and values that each layer keeps after the prefill.
    """

    pipeline: str | None
    budget: str | None
    tokens: Sequence[int]
    slots: Sequence[int]
    vision: int
    projector: int
    cue: int
    selection: int
    prefill: int
    decode: int
    cache: Sequence[int]

    @property
    def total(self) -> int:
        """FLOPs up to the first token."""
        return self.vision + self.projector + self.cue + self.selection + self.prefill

    @property
    def average(self) -> float:
        """Visual tokens, averaged over the layers."""
        return sum(self.tokens) / len(self.tokens)


class Subject:
    """A model without weights and a prompt about one image, whose costs are counted.

    Args:
        described: the model.
        image: (height, width) of the image in pixels. None: one that suits the model.
        text: tokens of text in the prompt.

    Raises:
        UnknownFamily, RefusedFamily: no family is registered for it, or it cannot be pruned.
        AttachError: it has no images among its slots, or does not run without weights.
    """

    def __init__(self, described: Described, image: Size | None = None, text: int = 59) -> None:
        self.described, self.image, self.text = described, image or described.image, text
        self.model: Model = laid_out(described.config).to(torch.bfloat16)  # some kernels know no other on meta
        family: Family = family_of(self.model)
        check_seams(family, self.model)
        self.family = family.modalities["image"]
        self.pixels = blank_pixels(self.family, self.model, self.image, described.processor)
        self.vision = count_vision(self.family, self.model, self.pixels, {})
        self.language = LanguageCost(self.family, self.model)
        self._heard: dict[Any, VisionCost] = {}

    @property
    def note(self) -> str:
        """What the size of the image rests on where its processor was not asked."""
        why = self.described.note
        return why and f"the image is taken to be neither resized nor padded: {why}"

    def full(self) -> Cost:
        """The model as it is."""
        encoded = random_tokens(self.family, self.model, self.pixels, self.vision.ran, "projected")
        count, separators = int(encoded.tokens.counts.sum()), int((encoded.index < 0).sum())
        return self.cost([count] * self.language.depth, separators)

    def cost(self, tokens: Sequence[int], separators: int = 0) -> Cost:
        """What the model costs when each layer of its language model gets so many visual tokens.

        Args:
            tokens: one number a layer.
            separators: feature rows that are no tokens, in every layer.
        """
        slots = [count + separators + self.text for count in tokens]
        return Cost(
            pipeline=None,
            budget=None,
            tokens=tokens,
            slots=slots,
            vision=self.vision.tower,
            projector=self.vision.projector,
            cue=0,
            selection=0,
            prefill=self.language.prefill(slots),
            decode=self.language.decode(slots),
            cache=self.language.cache(slots),
        )

    def pruned(self, pipeline: Pipeline) -> Cost:
        """The model with a pipeline; its choice runs on the host, over tokens that are drawn.

        Raises:
            MissingCue: the pipeline reads what this model does not give.
            BudgetError: the budget is more than the image has.
        """
        check_inside(self.family, self.model, pipeline)
        seen, space = self._listened(pipeline), pipeline.stages[0].space
        encoded = random_tokens(self.family, self.model, self.pixels, seen.ran, space)
        encoded = asked(encoded, words_after(self.text))
        check_budget(pipeline, encoded.tokens)
        budgets = budgets_of(pipeline, encoded.tokens, self.language.depth)
        with flops() as counted:
            selection = enter(pipeline, encoded.tokens, budgets)
        separators = 0 if pipeline.separators == "drop" else int((encoded.index < 0).sum())
        kept, around = int(selection.mask.sum()), separators + self.text
        left, cue, choice = count_inside(self.language, pipeline, encoded.tokens, budgets, kept, around)
        return replace(
            self.cost(left, separators),
            pipeline=pipeline.name,
            budget=str(pipeline.budget or "as written"),
            cue=seen.tower - self.vision.tower + cue,
            selection=counted.total + choice,
        )

    def _listened(self, pipeline: Pipeline) -> VisionCost:
        """The vision encoder with the cues of a pipeline; pipelines that read the same share it."""
        sources = cue_sources(self.family, self.model, pipeline, self.pixels)
        read = {name: source for name, source in sources.items() if source not in OF_NO_LAYER}
        key = tuple(sorted(read.items()))
        if key not in self._heard:
            self._heard[key] = count_vision(self.family, self.model, self.pixels, sources) if read else self.vision
        return self._heard[key]


def check_budget(pipeline: Pipeline, tokens: VisualTokens) -> None:
    """See whether a pipeline chooses among tokens at all, and a number of them is one that there is.

    Raises:
        UnsupportedMode: it takes a smaller image instead.
        BudgetError: no unit has so many.
    """
    if pipeline.stages[0].site == "image":
        raise UnsupportedMode(
            f"{pipeline.name!r} shrinks the image and chooses nothing; leave it out, and take a smaller --image"
        )
    budget = pipeline.kept
    counts = tokens.counts.tolist()
    most = max(sum(counts[row] for row in rows) for rows, _ in budget.units(tokens))
    if not budget.share and budget.amount > most:
        raise BudgetError(
            f"a budget of {budget} is more than the {most} visual tokens that one {budget.unit} has here; ask for at "
            f"most {most}, or for a share such as 25%"
        )


def counted(convention: Convention, subject: Subject, cost: Cost) -> int:
    """FLOPs up to the first token, as a convention has it.

    Raises:
        AttachError: it has no formula for this model.
    """
    if not convention.matrices:
        return cost.total
    language = by_formula(convention, subject.language.config, cost.slots if convention.text else cost.tokens)
    return language + (cost.vision if convention.tower else 0)


def cached(convention: Convention, subject: Subject, cost: Cost) -> int:
    """Elements of keys and values after the prefill, of the slots that a convention counts."""
    return sum(subject.language.cache(cost.tokens) if convention.matrices and not convention.text else cost.cache)
