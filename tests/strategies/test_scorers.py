"""The attention scorer and the two controls."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tokenprune import VisualTokens, load
from tokenprune.errors import MissingCue
from tokenprune_strategies.cls_attention import ClsAttention
from tokenprune_strategies.random_scores import RandomScores
from tokenprune_strategies.uniform import Uniform

X = torch.zeros(2, 6, 3)


def grid(height, width, rows=1, **rest):
    return VisualTokens.on_grid(torch.zeros(rows, height * width, 1), (height, width), **rest)


def test_cls_attention_averages_heads():
    attention = torch.rand(2, 4, 6)
    tokens = VisualTokens(X, cues={"cls_attention": attention})
    assert torch.equal(ClsAttention().score(tokens), attention.mean(1))
    assert torch.equal(ClsAttention(heads="sum").score(tokens), attention.sum(1))


def test_cls_attention_takes_a_row_that_is_averaged_already():
    row = torch.rand(2, 6).half()
    score = ClsAttention().score(VisualTokens(X, cues={"cls_attention": row}))
    assert score.dtype == torch.float32
    assert torch.equal(score, row.float())


def test_cls_attention_is_averaged_in_float32():
    attention = torch.rand(2, 16, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    score = ClsAttention().score(VisualTokens(X, cues={"cls_attention": attention}))
    assert torch.equal(score, attention.float().mean(1))
    assert not torch.equal(score, attention.mean(1).float())


def test_cls_attention_of_a_layer():
    cues = {"cls_attention": torch.zeros(2, 6), "cls_attention@9": torch.ones(2, 6)}
    assert ClsAttention(layer=9).reads == {"cls_attention@9|received_attention@9"}
    assert ClsAttention(layer=9).score(VisualTokens(X, cues=cues)).eq(1).all()
    with pytest.raises(MissingCue, match="cls_attention@3"):
        ClsAttention(layer=3).score(VisualTokens(X, cues=cues))


def test_without_a_cls_token_attention_received_stands_in():
    cues = {"received_attention": torch.ones(2, 6)}
    assert ClsAttention().score(VisualTokens(X, cues=cues)).eq(1).all()
    both = cues | {"cls_attention": torch.zeros(2, 6)}
    assert ClsAttention().score(VisualTokens(X, cues=both)).eq(0).all()
    with pytest.raises(MissingCue, match="'cls_attention'"):
        ClsAttention(without_cls="error").score(VisualTokens(X, cues=cues))
    with pytest.raises(ValidationError, match="without_cls"):
        ClsAttention(without_cls="guess")


def test_random_is_the_same_in_every_batch():
    group = torch.tensor([3, 3, 8, 3])
    score = RandomScores(seed=5).score(VisualTokens(torch.zeros(4, 50, 2), group=group))
    assert torch.equal(score, RandomScores(seed=5).score(VisualTokens(torch.zeros(4, 50, 2), group=group)))
    alone = RandomScores(seed=5).score(VisualTokens(torch.zeros(3, 50, 2), group=torch.zeros(3).long()))
    assert torch.equal(score[[0, 1, 3]], alone)
    assert torch.equal(score[2], alone[0])  # the first row of any image
    assert torch.equal(score[:, :20], RandomScores(seed=5).score(VisualTokens(torch.zeros(4, 20, 2), group=group)))


@settings(deadline=None, max_examples=30)
@given(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40))
def test_random_differs_by_seed(one, other):
    scores = [RandomScores(seed=seed).score(VisualTokens(torch.zeros(1, 100, 1))) for seed in (one, other)]
    assert torch.equal(*scores) == ((one - other) % 2**32 == 0)
    assert all(score.ge(0).all() and score.lt(1).all() for score in scores)


def test_random_is_as_even_as_chance():
    """64,000 numbers in 16 boxes, and 576 tokens drawn 400 times: within four standard deviations of chance."""
    score = RandomScores(seed=1).score(VisualTokens(torch.zeros(64, 1000, 1), group=torch.zeros(64).long()))
    boxes = (score * 16).long().flatten().bincount(minlength=16)
    assert ((boxes - 4000).abs() < 4 * (4000 * 15 / 16) ** 0.5).all()
    assert len(score.unique()) > 63_000
    assert torch.corrcoef(score[:8]).fill_diagonal_(0).abs().max() < 4 / 1000**0.5
    tokens = VisualTokens(torch.zeros(1, 576, 1))
    seeds = [load("random", scorer={"use": "random", "seed": seed}, budget=64).select(tokens) for seed in range(400)]
    times = torch.cat([selection.mask for selection in seeds]).sum(0)  # [576], 400 * 64 / 576 = 44 expected
    assert times.sum() == 400 * 64
    assert (times.float() - 44.4).abs().max() < 4.5 * (400 * (1 / 9) * (8 / 9)) ** 0.5
    assert 0.8 < times.float().var() / (400 * (1 / 9) * (8 / 9)) < 1.2


def hole(pipeline, height, width, budget):
    """How far any cell is from a kept one, in sides of the square that each kept token stands for."""
    mask = load(pipeline, budget=budget).select(grid(height, width)).mask[0]
    assert mask.sum() == budget
    kept, cells = (m.view(height, width).nonzero().float() for m in (mask, mask | True))
    return torch.cdist(cells, kept).amin(1).max() / (height * width / budget) ** 0.5


@pytest.mark.parametrize(("height", "width"), [(24, 24), (27, 27), (16, 40), (32, 32)])
@pytest.mark.parametrize("budget", [16, 32, 57, 64])
def test_uniform_leaves_no_large_hole(height, width, budget):
    drawn = [load("random", scorer={"use": "random", "seed": seed}, budget=1) for seed in range(3)]
    assert hole("uniform", height, width, budget) <= 1.4
    assert max(hole(pipeline, height, width, budget) for pipeline in drawn) > 1.4


@pytest.mark.parametrize("budget", [2, 5, 16, 57, 64, 200])
def test_uniform_spreads_along_the_order_where_there_is_no_map(budget):
    mask = load("uniform", budget=budget).select(VisualTokens(torch.zeros(1, 576, 1))).mask[0]
    kept = mask.nonzero()[:, 0]
    gaps = torch.diff(kept, prepend=torch.tensor([-1]), append=torch.tensor([576]))
    assert len(kept) == budget
    assert gaps.max() <= 2.7 * 576 / budget + 1  # the golden ratio leaves no gap above 2.62 times the mean


def test_uniform_keeps_what_a_smaller_budget_keeps():
    masks = [load("uniform", budget=budget).select(grid(24, 24)).mask for budget in (10, 50, 51, 300)]
    assert all((small & ~large).sum() == 0 for small, large in pairwise(masks))


def test_uniform_spreads_over_the_map_and_not_over_the_row():
    """Four tiles of one map: each gets its share of the budget of all."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    place = torch.stack([y, x], -1).view(2, 12, 2, 12, 2).transpose(1, 2).reshape(4, 144, 2)
    tokens = VisualTokens(
        torch.zeros(4, 144, 1), place=place, canvas=torch.tensor([[24, 24]]).expand(4, 2), group=torch.zeros(4).long()
    )
    score, whole = Uniform().score(tokens), Uniform().score(grid(24, 24))[0]
    score = score.view(2, 2, 12, 12).transpose(1, 2).flatten()
    assert torch.equal(score.argsort(descending=True)[:300], whole.argsort(descending=True)[:300])
