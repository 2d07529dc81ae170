"""Suppression: each pick is the highest after what those before took, whichever way they take."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.plain import complaints, picked, scaled
from strategies.problems import exact, fine, marks, problems

from tokenprune import Split, VisualTokens
from tokenprune_strategies.bounds import bounds, finite
from tokenprune_strategies.effective_rank import effective_rank
from tokenprune_strategies.suppress import joint, threshold, worth
from tokenprune_strategies.suppression import Suppression


def closeness(places, row, token, radius):
    """[N] 1 at the place of a token, 0 from ``radius`` cells on; 0 everywhere without places."""
    if places is None or radius is None:
        return torch.zeros(())
    return (1 - (places[row] - places[row, token]).double().norm(dim=1) / radius).clamp(min=0)


def relevance(part, places=None):
    """balance * score - (1 - balance) * largest similarity to a pick."""

    def gains(unit, scores, there, picks, row):
        found = part.balance * scaled(scores, there)
        if picks:
            like = unit @ unit[picks].T  # [N, T]
            if places is not None:
                close = torch.stack([closeness(places, row, token, part.radius) for token in picks], 1)
                like = torch.maximum(like, close)
            found = found - (1 - part.balance) * like.amax(1)
        return found

    return gains


def soft(part, places=None):
    """The logarithm of score times exp(-similarity^2 / sigma) for every pick."""

    def gains(unit, scores, there, picks, row):
        found = (scores - scores[there].min().clamp(max=0)).clamp(min=1.17549e-38).log()
        for token in picks:
            found = found - (unit @ unit[token]).clamp(min=0) ** 2 / part.sigma
            found = found - closeness(places, row, token, part.radius) ** 2 / part.sigma
        return found

    return gains


def both(part, places=None):
    """The logarithm of score times 1 - likeness times nearness, both bells, for every pick within the radius."""

    def gains(unit, scores, there, picks, row):
        found = (scores - scores[there].min().clamp(max=0)).clamp(min=1.17549e-38).log()
        for token in picks:
            like = torch.exp(-((1 - unit @ unit[token]) ** 2) / (2 * part.sigma**2))
            if places is not None:
                cells = (places[row] - places[row, token]).double().norm(dim=1)
                like = like * torch.exp(-(cells**2) / (2 * (0.3 * part.radius) ** 2)) * (cells <= part.radius)
            found = found + (1 - like).clamp(min=1.17549e-38).log()
        return found

    return gains


def rank_of(unit):
    value = torch.linalg.svdvals(unit)
    share = value / value.sum()
    return torch.exp(-(share * share.clamp(min=1e-300).log()).sum())


def hard(part, places=None):
    """Score, less a lot for those that any pick puts out."""

    def gains(unit, scores, there, picks, row):
        out = torch.zeros(len(unit), dtype=torch.bool)
        for number, token in enumerate(picks, 1):
            tau = part.threshold
            if part.growth:
                tau = tau * number * float(rank_of(unit[there])) / part.average_rank
            out |= 1 - unit @ unit[token] < min(tau, part.cap)
            out |= closeness(places, row, token, part.radius) > 0
        return scaled(scores, there) - 4 * out

    return gains


CASES = [
    (Suppression(decay="subtract"), relevance),
    (Suppression(decay="subtract", balance=0.9), relevance),
    (Suppression(), soft),
    (Suppression(sigma=0.1), soft),
    (Suppression(decay="joint", sigma=0.3), both),
    (Suppression(decay="threshold", threshold=0.3), hard),  # no cosine of exact tokens lies near 0.7
    (Suppression(decay="threshold", threshold=0.06, growth=True, average_rank=3.03), hard),
    (Suppression(decay="threshold", threshold=0.06, growth=True, average_rank=1.03, cap=0.4), hard),
]


@pytest.mark.parametrize(("part", "formula"), CASES)
@settings(deadline=None, max_examples=50)
@given(problem=problems(most=30))
def test_each_pick_is_the_highest_after_what_was_taken(part, formula, problem):
    with pytest.MonkeyPatch.context() as patch:
        assert complaints(patch, part, problem, formula(part)) == []


@pytest.mark.parametrize(("part", "formula"), CASES)
@settings(deadline=None, max_examples=20)
@given(problem=problems(most=30), width=st.integers(1, 6), radius=st.sampled_from((1.3, 3.7)))
def test_near_ones_take_too(part, formula, problem, width, radius):
    (tokens, *rest), part = problem, part.model_copy(update={"radius": radius})
    cell = torch.arange(tokens.shape[1])
    place = torch.stack([cell // width, cell % width], -1).expand(len(tokens.features), -1, -1)
    canvas = torch.tensor([[60, width]]).expand(len(tokens.features), -1)
    tokens = VisualTokens(tokens.features, valid=tokens.valid, place=place, canvas=canvas)
    with pytest.MonkeyPatch.context() as patch:
        assert complaints(patch, part, (tokens, *rest), formula(part, place)) == []


def test_a_wrong_formula_is_noticed(monkeypatch):
    g = torch.Generator().manual_seed(0)
    x, none = torch.randn(1, 40, 4, generator=g), torch.zeros(1, 40, dtype=torch.bool)
    problem = VisualTokens(x), torch.rand(1, 40, generator=g), none, Split(torch.tensor([0]), torch.tensor([12]))
    for part, formula in CASES:
        assert complaints(monkeypatch, part, problem, formula(part)) == []
        for other, another in CASES:
            if other != part:
                assert complaints(monkeypatch, part, problem, another(other))


def test_what_is_out_fills_up_by_score(monkeypatch):
    """Two directions, so that all but two tokens are out: the rest goes by score."""
    x = torch.eye(2)[[0, 0, 0, 1, 1, 1]][None]
    scores = torch.tensor([[5.0, 9, 7, 4, 6, 8]])
    problem = VisualTokens(x), scores, marks([], 6)[None], Split(torch.tensor([0]), torch.tensor([6]))
    part = Suppression(decay="threshold", threshold=0.5)
    assert picked(monkeypatch, part, problem)[1] == [[1, 5, 2, 4, 0, 3]]


def test_tokens_without_places_take_by_cosine_alone():
    x, scores = exact((1, 30, 8)), torch.rand(1, 30, generator=torch.Generator().manual_seed(0))
    rest = scores, marks([], 30)[None], Split(torch.tensor([0]), torch.tensor([8]))
    plain = Suppression().choose(VisualTokens(x), *rest)
    assert torch.equal(Suppression(radius=2).choose(VisualTokens(x), *rest), plain)
    there = VisualTokens.on_grid(x, (5, 6))
    assert not torch.equal(Suppression(radius=2).choose(there, *rest), plain)


def test_effective_rank_counts_directions():
    x = torch.zeros(4, 6, 8)
    x[0, :, 0] = 1
    x[1, range(6), range(6)] = 1
    x[2, range(6), [0, 0, 0, 1, 1, 1]] = 1
    ranks, wanted = effective_rank(x), effective_rank(fine((1, 20)))
    assert torch.allclose(ranks, torch.tensor([[1.0], [6], [2], [1]]), atol=1e-3)
    assert torch.allclose(effective_rank(x[1:2].mT), ranks[1:2], atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(effective_rank(fine((1, 20))), wanted)


def test_the_radius_is_within_for_joint_and_beyond_for_threshold():
    none, away = torch.zeros(1, 2), torch.tensor([[2.0, 2.5]])
    assert (joint(0.5, 2.0, 1.0, none, none + 1, away, 1) > 0).tolist() == [[True, False]]
    assert threshold(0.0, 2.5, 1.0, none, none, away, 1).tolist() == [[4, 0]]


def test_scores_that_are_no_numbers_are_zero_and_no_scores_have_no_bounds():
    assert finite(torch.tensor([torch.nan, torch.inf, -torch.inf, 0.5])).tolist() == [0, 0, 0, 0.5]
    assert [one.tolist() for one in bounds(torch.zeros(1, 0), None)] == [[[torch.inf]], [[-torch.inf]]]


def test_worth_is_a_share_or_the_logarithm_above_the_lowest():
    scores = torch.tensor([[-1.0, 3, 1]])
    assert worth(scores, None, "subtract", 0.25).tolist() == [[0, 0.25, 0.125]]
    assert worth(scores, None, "threshold", 0.25).tolist() == [[0, 1, 0.5]]
    assert worth(scores, None, "gaussian", 0.25)[0, 1:].exp().round(decimals=4).tolist() == [4, 2]


def test_without_a_radius_places_have_no_say():
    g = torch.Generator().manual_seed(0)
    x, scores = torch.randn(1, 36, 4, generator=g), torch.rand(1, 36, generator=g)
    kept, split = torch.zeros(1, 36, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([9]))
    chosen = [
        Suppression(decay="joint").choose(tokens, scores, kept, split)
        for tokens in (VisualTokens(x), VisualTokens.on_grid(x, (6, 6)))
    ]
    assert torch.equal(*chosen)


def test_tokens_that_are_none_have_no_say_in_the_rank():
    g = torch.Generator().manual_seed(1)
    x, scores = torch.randn(1, 24, 32, generator=g), torch.rand(1, 24, generator=g)
    x[:, :12] = x[:, :1] + 0.3 * x[:, :12]  # alike; those behind them, that are none, point everywhere
    kept, split = torch.zeros(1, 24, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([6]))
    part, valid = (
        Suppression(decay="threshold", threshold=0.005, growth=True, average_rank=2.0),
        torch.arange(24)[None] < 12,
    )
    alone = part.choose(VisualTokens(x[:, :12]), scores[:, :12], kept[:, :12], split)
    assert torch.equal(part.choose(VisualTokens(x, valid=valid), scores, kept, split)[:, :12], alone)
