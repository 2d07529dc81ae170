"""The rules for mergers: what must hold of carriers and edges on any tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.testing.draw import modest
from tokenprune.testing.rules import check_mask, close_where, scored, valid_of
from tokenprune.testing.search import alike, alone, prompts, require, settled, spoilt
from tokenprune.tokens import VisualTokens, top


def merges_are_sound(merger: Merger, tokens: VisualTokens, split: Split) -> None:
    """Exactly `split.merged` carriers, edges inside a row that end at what stays, and full rows as they were."""
    scores, selection = _chosen(tokens, split)
    merge = settled(lambda given: merger.merge(given, scores, selection, split), tokens, _same_merge)
    check_mask("what carries", merge.carriers, tokens)
    require(not (merge.carriers & selection.mask).any(), "carriers were not chosen before", merge.carriers.tolist())
    counts = merge.carriers.sum(-1).cpu()
    require(alike(counts, split.merged), "each row has `split.merged` carriers", merge.carriers.tolist())
    told = [(part.dtype, part.device, tuple(part.shape)) for part in (merge.source, merge.target, merge.weight)]
    here, shape = tokens.device, tuple(merge.weight.shape)
    want = [(torch.int64, here, shape), (torch.int64, here, shape), (torch.float32, here, shape)]
    require(
        told == want and len(shape) == 1, f"source, target and weight are [E] int64, int64, float32 on {here}", told
    )
    real = merge.weight != 0
    require(merge.weight.isfinite().all(), "weights are finite", merge.weight.tolist())
    source, target = merge.source[real], merge.target[real]
    require(valid_of(tokens).flatten()[source].all(), "sources are valid tokens", source.tolist())
    stays = (selection.mask | merge.carriers).flatten()
    require(stays[target].all(), "targets are carriers or tokens that stay", target.tolist())
    rows = [part.div(tokens.shape[1], rounding_mode="floor") for part in (source, target)]
    require(alike(*rows), "no edge leaves its row", [part.tolist() for part in rows])
    full = (split.total == tokens.counts).to(here)[:, None, None].expand(tokens.features.shape)
    flat = tokens.features.flatten(0, 1)
    same = ~full | (merge.apply(flat).view_as(tokens.features) == tokens.features)
    require(not modest(tokens) or same.all(), "where nothing is dropped nothing changes", split.total.tolist())


def merges_stand_alone(merger: Merger, tokens: VisualTokens, split: Split) -> None:
    """Invalid tokens and other prompts change no merge, up to rounding; on exact tokens."""
    scores, selection = _chosen(tokens, split)
    where = selection.mask | merger.merge(tokens, scores, selection, split).carriers

    def folded(given: VisualTokens, rows: Tensor) -> Tensor:
        part = Split(*(getattr(split, name)[rows] for name in ("important", "diverse", "merged")))
        chosen = Selection(selection.important[rows], selection.diverse[rows])
        merge = merger.merge(given, scores[rows], chosen, part)
        return merge.apply(given.features.flatten(0, 1)).view_as(given.features)

    everything = torch.arange(len(tokens.group))
    whole = folded(tokens, everything)
    require(close_where(folded(spoilt(tokens), everything), whole, where), "tokens that are not valid change no merge")
    for rows in prompts(tokens):
        lone = folded(alone(tokens, rows), rows)
        rule = f"prompts change no merge of each other: rows {rows.tolist()}"
        require(close_where(lone, whole[rows.to(tokens.device)], where[rows.to(tokens.device)]), rule, lone.tolist())


def _chosen(tokens: VisualTokens, split: Split) -> tuple[Tensor, Selection]:
    """Scores [B, N] and what is chosen before a merger runs: by score, then in reading order."""
    scores, important = scored(tokens, split)
    free = valid_of(tokens) & ~important
    order = torch.arange(tokens.shape[1], 0, -1, device=tokens.device).expand(tokens.shape).float()
    return scores, Selection(important, top(order, split.diverse, free))


def _same_merge(one: Merge, other: Merge) -> bool:
    return all(alike(getattr(one, name), getattr(other, name)) for name in ("carriers", "source", "target", "weight"))
