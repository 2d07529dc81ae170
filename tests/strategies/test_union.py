"""One way of choosing after the other, and choosing by another score."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.problems import exact, marks, problems

from tokenprune import Pipeline, Split, VisualTokens, load
from tokenprune_strategies.attention_received import AttentionReceived
from tokenprune_strategies.by_score import ByScore
from tokenprune_strategies.max_min import MaxMin
from tokenprune_strategies.similarity_dedup import SimilarityDedup
from tokenprune_strategies.union import Union


@settings(deadline=None, max_examples=60)
@given(problems(), st.sampled_from((0.0, 0.3, 0.5, 1.0)))
def test_the_second_chooses_around_the_first(problem, share):
    tokens, scores, kept, split = problem
    one = (split.diverse * share).floor().long()
    first = SimilarityDedup().choose(tokens, scores, kept, Split(split.important, one))
    rest = Split(split.important + one, split.diverse - one)
    wanted = first | MaxMin().choose(tokens, scores, kept | first, rest)
    part = Union(first="similarity_dedup", then="max_min", share=share)
    assert torch.equal(part.choose(*problem), wanted)


def test_a_union_goes_through_yaml_with_a_union_in_it():
    inner = {"use": "union", "first": "max_min", "share": 0.25}
    pipeline = load("vispruner", diversifier={"use": "union", "first": {"use": "by_score"}, "then": inner})
    assert pipeline.stages[0].diversifier.then == Union(first=MaxMin(), share=0.25)
    assert load({"name": "again", **pipeline.model_dump(include={"stages", "budget"})}).stages == pipeline.stages
    assert "union" in str(Pipeline.model_json_schema())


def test_it_reads_what_its_parts_read():
    part = Union(first={"use": "by_score", "scorer": {"use": "attention_received", "layer": 3}}, then="by_score")
    assert part.reads == {"received_attention@3"}
    assert Union().reads == frozenset()


def test_by_score_goes_by_the_scorer_that_is_named():
    received = torch.arange(10.0)[None]
    tokens = VisualTokens(torch.zeros(1, 10, 2), {"received_attention": received})
    kept, split = marks([9], 10)[None], Split(torch.tensor([1]), torch.tensor([2]))
    assert ByScore().choose(tokens, -received, kept, split).nonzero()[:, 1].tolist() == [0, 1]
    other = ByScore(scorer=AttentionReceived())
    assert other.choose(tokens, -received, kept, split).nonzero()[:, 1].tolist() == [7, 8]


@pytest.mark.parametrize("layer", [None, 4, -2])
def test_received_attention_averages_heads(layer):
    name = "received_attention" if layer is None else f"received_attention@{layer}"
    attention = torch.rand(2, 4, 6).half()
    scorer = AttentionReceived(layer=layer)
    assert scorer.reads == {name}
    found = scorer.score(VisualTokens(torch.zeros(2, 6, 3), cues={name: attention}))
    assert torch.equal(found, attention.float().mean(1))


def test_hybrid_windows_spreads_half_of_the_budget():
    x, attention = exact((1, 144, 8)), torch.rand(1, 144, generator=torch.Generator().manual_seed(0))
    tokens = VisualTokens.on_grid(x, (12, 12), cues={"cls_attention": attention})
    mask = load("hybrid_windows", budget=16).select(tokens).mask.view(2, 6, 2, 6)
    assert mask.sum() == 16
    assert (mask.sum((1, 3)) >= 2).all()
