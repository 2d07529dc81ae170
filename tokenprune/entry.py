"""What enters the language model, and what the stages inside it will keep of that."""

from __future__ import annotations

import torch

from tokenprune.budget import Budget
from tokenprune.chunk import Chunk
from tokenprune.family import Family, Model, submodule
from tokenprune.modality import Visuals
from tokenprune.pipeline import Pipeline
from tokenprune.prompt import Columns
from tokenprune.question import words_of
from tokenprune.reading import Reading
from tokenprune.selection import Selection
from tokenprune.spans import Spans
from tokenprune.standing import Prompt
from tokenprune.tokens import VisualTokens


def depth_of(family: Family, model: Model) -> int:
    """Layers of the language model."""
    return len(submodule(model.base_model, family.language_model).layers)


def budgets_of(pipeline: Pipeline, tokens: VisualTokens, depth: int) -> list[Budget]:
    """What each stage keeps of the images of one call.

    Raises:
        BudgetError: the average over the layers cannot be that small.
        PipelineError: the language model has not the layers that the pipeline names.
    """
    if not pipeline.inside:
        return [pipeline.kept]
    plan, counts, images = pipeline.plan(depth), tokens.counts, dict[int, int]()
    for group, count in zip(tokens.group.tolist(), counts.tolist(), strict=True):
        images[group] = images.get(group, 0) + count
    plans = [plan.counts(count) for count in images.values()]
    return [Budget.counted(kept) for kept in zip(*plans, strict=True)]


def enter(pipeline: Pipeline, tokens: VisualTokens, budgets: list[Budget]) -> Selection:
    """What the stage before the language model keeps; everything if there is none."""
    if pipeline.entry is not None:
        return pipeline.entry.select(tokens, budgets[0])
    valid = torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device) if tokens.valid is None else tokens.valid
    return Selection(valid, valid & False)


def reading_of(
    pipeline: Pipeline,
    model: Model,
    visuals: Visuals,
    selection: Selection,
    chunk: Chunk,
    columns: Columns,
    budgets: list[Budget],
    renumber: bool,
) -> Reading | None:
    """What the stages inside the language model have to know of a prompt; None: they have nothing to do.

    Args:
        pipeline: what chooses.
        model: the model.
        visuals: what the call brings.
        selection: what enters of it.
        chunk: the prompt.
        columns: where its columns went.
        budgets: what each stage keeps.
        renumber: whether position ids close the gaps.
    """
    if not pipeline.inside:
        return None
    spans = Spans.of(visuals, selection, columns)
    inside = _by_image(visuals.tokens, budgets[-len(pipeline.inside) :])
    if not bool(spans.valid.any()) or all(
        most == count for kept in inside for most, count in zip(kept, spans.counts, strict=True)
    ):
        return None
    visual = torch.stack([part.placeholder for part in visuals.parts]).any(0)
    words, spoken = words_of(model, chunk.ids, chunk.mask, visual)
    entry, tokens = pipeline.entry, visuals.tokens
    return Reading(
        spans,
        Prompt(columns.filled.bool(), columns.at().gather(1, words).clamp(min=0), spoken),
        inside,
        renumber,
        None if entry is None else lambda left: left.gathered(entry.scores(tokens)),
    )


def _by_image(tokens: VisualTokens, budgets: list[Budget]) -> list[tuple[int, ...]]:
    """What each budget keeps of each image, in the order of the prompts; units come in that of the rows."""
    groups = list(dict.fromkeys(tokens.group.tolist()))
    order = sorted(range(len(groups)), key=groups.__getitem__)
    units = [budget.units(tokens) for budget in budgets]
    return [tuple(unit[nth][1] for nth in order) for unit in units]
