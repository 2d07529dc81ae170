"""The rules: what must hold of scores, splits, choices and selections on any tokens."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.errors import MissingCue
from tokenprune.pool import Pool
from tokenprune.selection import Selection, Split
from tokenprune.stage import Stage
from tokenprune.strategy import BudgetSplitter, Diversifier, Scorer
from tokenprune.testing.draw import modest
from tokenprune.testing.search import alike, alone, prompts, require, settled, spoilt
from tokenprune.tokens import VisualTokens, top


def scores_are_sound(scorer: Scorer, tokens: VisualTokens) -> None:
    """float32 [B, N] where the tokens are, finite where the input is."""
    scores = settled(scorer.score, tokens, alike)
    told = f"{scores.dtype} {list(scores.shape)} on {scores.device}"
    sound = (scores.dtype, tuple(scores.shape), scores.device) == (torch.float32, tokens.shape, tokens.device)
    require(sound, f"scores are torch.float32 {list(tokens.shape)} on {tokens.device}", told)
    finite = scores.isfinite() | ~valid_of(tokens)
    require(not modest(tokens) or finite.all(), "finite features and cues give finite scores", scores.tolist())


def scores_stand_alone(scorer: Scorer, tokens: VisualTokens) -> None:
    """Invalid tokens and other prompts change no score, up to rounding."""
    scores, valid = scorer.score(tokens), valid_of(tokens)
    other = scorer.score(spoilt(tokens))
    require(close_where(other, scores, valid), f"tokens that are not valid change no score of others: {scores}", other)
    for rows in prompts(tokens):
        there = rows.to(tokens.device)
        lone = scorer.score(alone(tokens, rows))
        rule = f"prompts change no score of each other: rows {rows.tolist()} in the batch {scores[there]}"
        require(close_where(lone, scores[there], valid[there]), rule, f"{lone} alone")


def cues_are_missed(scorer: Scorer, tokens: VisualTokens) -> None:
    """Without the cues it says it reads, a scorer raises."""
    try:
        scorer.score(tokens)
    except MissingCue:
        return
    require(not scorer.reads, f"without {', '.join(scorer.reads)}, which it says it reads, it raises MissingCue")


def splits_add_up(splitter: BudgetSplitter, tokens: VisualTokens, budget: Budget) -> None:
    """int64 [B] on the host, never negative, never more than is valid, exactly the budget of each unit."""
    if splitter.pools:
        units = [rows for rows, _ in budget.units(tokens)]
        tokens = Pool.of(tokens, units).tokens(tokens, units)
    scores = torch.linspace(1, 0, tokens.shape[1], device=tokens.device).expand(tokens.shape)
    split = settled(lambda given: splitter.split(given, scores, budget), tokens, _same_split)
    for name, part in (("important", split.important), ("diverse", split.diverse), ("merged", split.merged)):
        told = f"{part.dtype} {list(part.shape)} on {part.device}"
        sound = part.dtype == torch.int64 and part.shape == tokens.group.shape and part.device.type == "cpu"
        require(sound, f"{name} is torch.int64 [{len(tokens.group)}] on the host", told)
        require((part >= 0).all(), f"{name} is never negative", part.tolist())
    full = (split.total <= tokens.counts).all()
    require(full, f"no row gets more than its valid tokens {tokens.counts.tolist()}", split.total.tolist())
    for rows, total in budget.units(tokens):
        _check_total(splitter.adaptive, tokens, rows, total, split.total[rows].tolist())


def choices_are_sound(diversifier: Diversifier, tokens: VisualTokens, split: Split) -> None:
    """Exactly `split.diverse` tokens a row, valid and not yet kept."""
    scores, kept = scored(tokens, split)
    chosen = settled(lambda given: diversifier.choose(given, scores, kept, split), tokens, alike)
    check_mask("what is chosen", chosen, tokens)
    require(not (chosen & kept).any(), f"what is chosen was not kept before: {kept.tolist()}", chosen.tolist())
    require(alike(chosen.sum(-1).cpu(), split.diverse), "each row chooses `split.diverse` tokens", chosen.tolist())


def choices_stand_alone(diversifier: Diversifier, tokens: VisualTokens, split: Split) -> None:
    """Invalid tokens and other prompts change no choice; on exact tokens, where rounding plays no part."""
    scores, kept = scored(tokens, split)
    chosen = diversifier.choose(tokens, scores, kept, split)
    other = diversifier.choose(spoilt(tokens), scores, kept, split)
    require(alike(other, chosen), f"tokens that are not valid change no choice: {chosen.tolist()}", other.tolist())
    for rows in prompts(tokens):
        part, there = Split(split.important[rows], split.diverse[rows]), rows.to(tokens.device)
        lone = diversifier.choose(alone(tokens, rows), scores[there], kept[there], part)
        rule = f"prompts change no choice of each other: rows {rows.tolist()} in the batch {chosen[there].tolist()}"
        require(alike(lone, chosen[there]), rule, f"{lone.tolist()} alone")


def selections_are_sound(stage: Stage, tokens: VisualTokens, budget: Budget) -> None:
    """Disjoint masks of valid tokens, exactly the budget of each unit."""
    selection = settled(partial(stage.select, budget=budget), tokens, _same_selection)
    check_mask("important", selection.important, tokens)
    check_mask("diverse", selection.diverse, tokens)
    check_mask("merged", selection.merged, tokens)
    often = selection.important.byte() + selection.diverse.byte() + selection.merged.byte()
    require((often <= 1).all(), "important, diverse and merged share no token", often.tolist())
    for rows, total in budget.units(tokens):
        _check_total(stage.adaptive, tokens, rows, total, selection.counts.cpu()[rows].tolist())


def _check_total(adaptive: bool, tokens: VisualTokens, rows: list[int], total: int, given: list[int]) -> None:
    """What the rows of a unit keep is its budget; if adaptive, it is no more, at least one, and all of everything."""
    if not adaptive or total == int(tokens.counts[rows].sum()):
        require(sum(given) == total, f"rows {rows} keep {total} tokens together, as the budget says", given)
        return
    require(sum(given) <= total, f"rows {rows} keep at most {total} tokens together, as the budget says", given)
    require(sum(given) >= min(1, total), f"rows {rows} keep a token at least", given)


def selections_stand_alone(stage: Stage, tokens: VisualTokens, budget: Budget) -> None:
    """Invalid tokens and other prompts change no selection; on exact tokens."""
    select = partial(stage.select, budget=budget)
    selection = select(tokens)
    other = select(spoilt(tokens))
    rule = f"tokens that are not valid change no selection: {selection.mask.tolist()}"
    require(_same_selection(other, selection), rule, other.mask.tolist())
    for rows in prompts(tokens):
        there, lone = rows.to(tokens.device), select(alone(tokens, rows))
        part = Selection(selection.important[there], selection.diverse[there], selection.merged[there])
        rule = f"prompts change no selection of each other: rows {rows.tolist()} in the batch {part.mask.tolist()}"
        require(_same_selection(lone, part), rule, f"{lone.mask.tolist()} alone")


def check_mask(name: str, mask: Tensor, tokens: VisualTokens) -> None:
    """[B, N] bool where the tokens are, true at valid ones only."""
    told = f"{mask.dtype} {list(mask.shape)} on {mask.device}"
    sound = (mask.dtype, tuple(mask.shape), mask.device) == (torch.bool, tokens.shape, tokens.device)
    require(sound, f"{name} is torch.bool {list(tokens.shape)} on {tokens.device}", told)
    require(not (mask & ~valid_of(tokens)).any(), f"{name} holds valid tokens only", mask.tolist())


def scored(tokens: VisualTokens, split: Split) -> tuple[Tensor, Tensor]:
    """Scores [B, N] and the mask [B, N] of the important ones."""
    drawn = tokens.cue("scores").float()
    scores = drawn.mean(1) if drawn.ndim == 3 else drawn
    return scores, top(scores, split.important, tokens.valid)


def valid_of(tokens: VisualTokens) -> Tensor:
    """[B, N] bool."""
    everything = torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device)
    return everything if tokens.valid is None else tokens.valid


def close_where(one: Tensor, other: Tensor, where: Tensor) -> bool:
    """Whether two tensors agree up to rounding at the true entries of ``where``."""
    return torch.allclose(one[where], other[where], rtol=1e-4, atol=1e-6, equal_nan=True)


def _same_split(one: Split, other: Split) -> bool:
    return all(alike(getattr(one, name), getattr(other, name)) for name in ("important", "diverse", "merged"))


def _same_selection(one: Selection, other: Selection) -> bool:
    return all(alike(getattr(one, name), getattr(other, name)) for name in ("important", "diverse", "merged"))
