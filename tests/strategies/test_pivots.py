"""Pivots: each takes the tokens least like it; what the plain loop takes, in any batch."""

import torch
from golden.plain import unit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.problems import exact, free, marks, problems

from tokenprune import Split, VisualTokens
from tokenprune_strategies.pivots import Pivots


def plain(problem, pivots, order=sorted, shares=lambda left, each, nth: left // each + (nth < left % each)):
    """[B, N] bool, row by row in float64."""
    tokens, scores, kept, split = problem
    chosen = []
    for nth, count in enumerate(split.diverse.tolist()):
        there = range(tokens.shape[1]) if tokens.valid is None else tokens.valid[nth].nonzero()[:, 0].tolist()
        best = sorted(there, key=lambda token: -scores[nth, token])[:pivots]
        left = free(tokens, kept, nth)
        picks = [token for token in best if token in left][:count]
        rest, unit = count - len(picks), unit_of(tokens.features[nth])
        for number, pivot in enumerate(best):
            like = unit @ unit[pivot]
            open_ = order((token for token in left if token not in picks), key=lambda token: like[token])
            picks += open_[: shares(rest, len(best), number)]
        chosen.append(marks(picks, tokens.shape[1]))
    return torch.stack(chosen)


@settings(deadline=None, max_examples=150)
@given(problems(), st.integers(1, 9))
def test_takes_as_the_plain_loop(problem, pivots):
    assert torch.equal(Pivots(pivots=pivots).choose(*problem), plain(problem, pivots))


def test_a_mistake_is_noticed():
    rest = torch.rand(1, 60, generator=torch.Generator().manual_seed(0)), marks([], 60)[None]
    problem = VisualTokens(exact((1, 60, 8))), *rest, Split(torch.tensor([0]), torch.tensor([21]))
    found = Pivots(pivots=4).choose(*problem)
    assert torch.equal(found, plain(problem, 4))
    assert not torch.equal(found, plain(problem, 3))
    assert not torch.equal(found, plain(problem, 4, order=lambda some, key: sorted(some, key=key)[::-1]))
    assert not torch.equal(found, plain(problem, 4, shares=lambda left, each, nth: left // each + (nth >= each - 1)))


def test_pivots_that_are_kept_are_not_chosen_again():
    x = torch.tensor([[[1.0, 0], [0, 1], [0.9, 0.1], [-1, 0], [0, -1]]])
    scores, kept = torch.tensor([[9.0, 8, 1, 0, 0]]), marks([0], 5)[None]
    chosen = Pivots(pivots=2).choose(VisualTokens(x), scores, kept, Split(torch.tensor([1]), torch.tensor([3])))
    assert chosen.nonzero()[:, 1].tolist() == [1, 3, 4]
