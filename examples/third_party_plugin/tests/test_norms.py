import torch
from tokenprune_norms.feature_norm import FeatureNorm
from tokenprune_norms.stride import Stride

import tokenprune
from tokenprune.testing import check_diversifier, check_pipeline, check_scorer, variants

TOKENS = tokenprune.VisualTokens(torch.tensor([[3.0, 9, 1, 2, 8, 0, 5, 4]])[..., None])


def test_the_parts_keep_the_rules():
    for scorer in variants(FeatureNorm):
        check_scorer(scorer, examples=5)
    check_diversifier(Stride())


def test_the_pipeline_keeps_the_rules():
    check_pipeline(tokenprune.load("norm_and_stride"))


def test_the_longest_are_important():
    chosen = tokenprune.load("norm_and_stride", budget=4).select(TOKENS)
    assert chosen.important.nonzero()[:, 1].tolist() == [1, 4]


def test_the_rest_is_evenly_spread():
    chosen = tokenprune.load("norm_and_stride", budget=4).select(TOKENS)
    assert chosen.diverse.nonzero()[:, 1].tolist() == [3, 7]
