"""One check for each kind of part, and one for a whole pipeline.

Every check raises an `AssertionError` that holds the part, the rule and the smallest input found that breaks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import yaml
from hypothesis import strategies as st

from tokenprune.pipeline import Pipeline, load
from tokenprune.selection import Split
from tokenprune.strategy import BudgetSplitter, Diversifier, Merger, Scorer
from tokenprune.testing.draw import KINDS, MakeCue, budgets, splits, visual_tokens
from tokenprune.testing.merging import merges_are_sound, merges_stand_alone
from tokenprune.testing.rules import (
    choices_are_sound,
    choices_stand_alone,
    cues_are_missed,
    scores_are_sound,
    scores_stand_alone,
    selections_are_sound,
    selections_stand_alone,
    splits_add_up,
)
from tokenprune.testing.search import require, search
from tokenprune.testing.settings import check_settings
from tokenprune.tokens import VisualTokens

Cues = Mapping[str, MakeCue]


def check_scorer(scorer: Scorer, cues: Cues | None = None, examples: int = 10, device: str = "cpu") -> None:
    """A score for every token: [B, N] float32, finite where the input is, from the cues it says it reads.

    Args:
        scorer: what is checked.
        cues: for cues that are not [B, N] or [B, H, N], name -> function of the features [B, N, C].
        examples: how many inputs of each of `KINDS` are drawn.
        device: where the tensors are.
    """
    check_settings(scorer, Scorer)
    drawn = [visual_tokens((kind,), scorer.reads, cues, device=device) for kind in KINDS]
    search(scorer, [st.tuples(tokens) for tokens in drawn], partial(scores_are_sound, scorer), examples)
    search(scorer, [st.tuples(tokens) for tokens in drawn], partial(scores_stand_alone, scorer), examples)
    search(scorer, [st.tuples(visual_tokens(device=device))], partial(cues_are_missed, scorer), 5)


def check_splitter(splitter: BudgetSplitter, examples: int = 10, device: str = "cpu") -> None:
    """Counts that add up to the budget of every unit, and no row gets more than its valid tokens."""
    check_settings(splitter, BudgetSplitter)
    drawn = [visual_tokens((kind,), splitter.reads, device=device) for kind in KINDS]
    search(splitter, [st.tuples(tokens, budgets()) for tokens in drawn], partial(splits_add_up, splitter), examples)


def check_diversifier(
    diversifier: Diversifier, cues: Cues | None = None, examples: int = 10, device: str = "cpu"
) -> None:
    """Exactly as many tokens as asked for, valid and not yet kept, whatever the features and scores are.

    Args:
        diversifier: what is checked.
        cues: for cues that are not [B, N] or [B, H, N], name -> function of the features [B, N, C].
        examples: how many inputs of each of `KINDS` are drawn.
        device: where the tensors are.
    """
    check_settings(diversifier, Diversifier)
    reads = {*diversifier.reads, "scores"}  # what a scorer would say, drawn like a cue
    drawn = [_with_split(visual_tokens((kind,), reads, cues, device=device)) for kind in KINDS]
    exact = [_with_split(visual_tokens(("exact",), reads, cues, (torch.float32,), device))] * len(KINDS)
    search(diversifier, drawn, partial(choices_are_sound, diversifier), examples)
    search(diversifier, exact, partial(choices_stand_alone, diversifier), examples)


def check_merger(merger: Merger, cues: Cues | None = None, examples: int = 10, device: str = "cpu") -> None:
    """Exactly as many carriers as asked for, and only what nobody chose is folded into what stays.

    Args:
        merger: what is checked.
        cues: for cues that are not [B, N] or [B, H, N], name -> function of the features [B, N, C].
        examples: how many inputs of each of `KINDS` are drawn.
        device: where the tensors are.
    """
    check_settings(merger, Merger)
    reads = {*merger.reads, "scores"}
    drawn = [_with_split(visual_tokens((kind,), reads, cues, device=device), merged=True) for kind in KINDS]
    exact = [_with_split(visual_tokens(("exact",), reads, cues, (torch.float32,), device), merged=True)] * len(KINDS)
    search(merger, drawn, partial(merges_are_sound, merger), examples)
    search(merger, exact, partial(merges_stand_alone, merger), examples)


def check_pipeline(pipeline: Pipeline, cues: Cues | None = None, examples: int = 10, device: str = "cpu") -> None:
    """In every stage exactly the budget of every unit, valid tokens only, in disjoint masks; the same after YAML.

    Args:
        pipeline: what is checked, under budgets of every kind.
        cues: for cues that are not [B, N] or [B, H, N], name -> function of the features [B, N, C].
        examples: how many inputs of each of `KINDS` are drawn.
        device: where the tensors are.
    """
    again = load(yaml.safe_load(pipeline.to_yaml()))
    require(again == pipeline, f"{pipeline.name!r} is the same pipeline after a trip through YAML", again)
    placeless = {"site": None, "budget": None}
    stages = {stage.model_copy(update=placeless): stage for stage in pipeline.stages}.values()  # each sort once
    for stage in stages:
        each = -(-examples // len(stages))
        drawn = [st.tuples(visual_tokens((kind,), stage.reads, cues, device=device), budgets()) for kind in KINDS]
        exact = visual_tokens(("exact",), stage.reads, cues, (torch.float32,), device)
        search(pipeline, drawn, partial(selections_are_sound, stage), each)
        search(pipeline, [st.tuples(exact, budgets())] * len(KINDS), partial(selections_stand_alone, stage), each)


def _with_split(
    drawn: st.SearchStrategy[VisualTokens], merged: bool = False
) -> st.SearchStrategy[tuple[VisualTokens, Split]]:
    return drawn.flatmap(lambda tokens: st.tuples(st.just(tokens), splits(tokens, merged)))
