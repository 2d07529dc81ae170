"""Diverse tokens by a score: of those that are free the highest."""

import pytest
import torch

from tokenprune import Split, VisualTokens
from tokenprune_strategies.by_score import ByScore
from tokenprune_strategies.hidden_norm import HiddenNorm
from tokenprune_strategies.second_score import SecondScore


@pytest.mark.parametrize("part", [ByScore(), ByScore(scorer=HiddenNorm()), SecondScore(of=HiddenNorm())])
def test_what_is_kept_or_not_valid_is_not_chosen(part):
    scores = torch.tensor([[9.0, 8, 7, 6, 5, 4]])
    kept, valid = (torch.arange(6) == 0)[None], (torch.arange(6) != 1)[None]
    tokens, split = VisualTokens(scores[..., None], valid=valid), Split(torch.tensor([1]), torch.tensor([2]))
    assert part.choose(tokens, scores, kept, split)[0].nonzero()[:, 0].tolist() == [2, 3]
    everything = VisualTokens(scores[..., None])
    assert part.choose(everything, scores, kept, split)[0].nonzero()[:, 0].tolist() == [1, 2]
