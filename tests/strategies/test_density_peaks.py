"""Density peaks: densest tokens far from denser ones, in any batch and any amount of memory."""

import pytest
import torch
from golden.plain import unit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.problems import free, marks, problems

from tokenprune import Split, VisualTokens
from tokenprune_strategies import density_peaks
from tokenprune_strategies.density import density, prominence
from tokenprune_strategies.density_peaks import DensityPeaks


def worth(tokens, kept, nth, nearest, mean=sum):
    """{token: density times distance} of a row, in float64."""
    unit = unit_of(tokens.features[nth])
    there = range(len(unit)) if tokens.valid is None else tokens.valid[nth].nonzero()[:, 0].tolist()
    held, dense, found = kept[nth].nonzero()[:, 0].tolist(), {}, {}
    apart = {(a, b): max(0.0, float(2 - 2 * unit[a] @ unit[b])) for a in there for b in there}
    for a in there:
        near = sorted(apart[a, b] for b in there if b != a)[:nearest]
        dense[a] = torch.tensor(-mean(near) / max(1, len(near))).exp().item()
    for a in there:
        above = [b for b in there if (round(dense[b], 9), -b) > (round(dense[a], 9), -a) or b in held]
        away = [apart[a, b] for b in above]
        found[a] = dense[a] * (min(away) if away else max(apart[a, b] for b in there)) ** 0.5
    return found


@settings(deadline=None, max_examples=60)
@given(problems(most=24), st.integers(1, 6), st.booleans())
def test_chosen_are_worth_most(problem, nearest, tight):
    tokens, _, kept, split = problem
    with pytest.MonkeyPatch.context() as patch:
        if tight:
            patch.setattr(density_peaks, "_MEMORY", 4 * 50)
        chosen = DensityPeaks(nearest=nearest).choose(*problem)
    for nth, count in enumerate(split.diverse.tolist()):
        found, left = worth(tokens, kept, nth, nearest), free(tokens, kept, nth)
        picks = chosen[nth].nonzero()[:, 0].tolist()
        assert len(picks) == count
        others = [found[token] for token in left if token not in picks]
        assert not picks or not others or min(found[token] for token in picks) >= max(others) - 1e-3


def test_one_of_each_cluster_then_the_others():
    """Three clusters of 5, 4 and 3: the first pick of each is inside it, repetitions come last."""
    g = torch.Generator().manual_seed(0)
    x = torch.eye(3).repeat_interleave(torch.tensor([5, 4, 3]), 0) + 0.05 * torch.randn(12, 3, generator=g)
    rest = torch.zeros(1, 12), marks([], 12)[None], Split(torch.tensor([0]), torch.tensor([3]))
    chosen = DensityPeaks(nearest=2).choose(VisualTokens(x[None]), *rest)[0]
    assert [int(part.sum()) for part in chosen.split([5, 4, 3])] == [1, 1, 1]
    kept = marks([6], 12)[None]
    more = DensityPeaks(nearest=2).choose(VisualTokens(x[None]), rest[0], kept, Split(*torch.tensor([[1], [2]])))[0]
    assert [int(part.sum()) for part in more.split([5, 4, 3])] == [1, 0, 1]


def test_duplicates_come_last():
    x = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))[:, [0, 0, 1, 2, 2, 3, 4, 5]]
    rest = torch.zeros(1, 8), marks([], 8)[None], Split(torch.tensor([0]), torch.tensor([6]))
    chosen = DensityPeaks(nearest=3).choose(VisualTokens(x), *rest)[0]
    assert chosen.tolist() == [True, False, True, True, False, True, True, True]


def test_density_and_distance_of_few_tokens():
    """Two tokens half a unit apart beside one that is not there; and three, the last of them in the middle."""
    square = torch.tensor([[[0, 0.25, 9], [0.25, 0, 9], [9, 9, 0]], [[0, 4, 1], [4, 0, 1], [1, 1, 0]]])
    valid = torch.tensor([[True, True, False], [True, True, True]])

    def parts():
        return iter([(slice(0, 3), square.clone())])

    dense = density(parts, valid, 5)
    assert torch.allclose(-dense.log()[valid], torch.tensor([0.25, 0.25, 2.5, 2.5, 1]))
    away = prominence(parts, dense, valid, torch.zeros_like(valid))
    assert torch.allclose(away[valid], torch.tensor([0.5, 0.5, 1, 1, 1]))
