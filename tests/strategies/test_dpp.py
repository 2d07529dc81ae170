"""The determinantal point process: each pick spans most volume, in any batch and any amount of memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.plain import complaints, picked, scaled
from strategies.problems import exact, marks, problems

from tokenprune import Split, VisualTokens
from tokenprune_strategies import dpp, similarity
from tokenprune_strategies.bounds import bounds, share
from tokenprune_strategies.dpp import Dpp
from tokenprune_strategies.volume import Volume


def volume(unit, scores, there, picks, row):
    """What the determinant of (r_i cos_ij r_j) over the picks is multiplied with; minus 1 / r^2 where it becomes 0."""
    quality = (scaled(scores, there) + 1e-6) ** 2
    span = unit[picks].T  # [C, T]
    rest = unit - unit @ span @ torch.linalg.pinv(span, rtol=1e-6) if picks else unit
    length = rest.square().sum(1)
    return torch.where(length > 1e-5, quality * length, -1 / quality)


@settings(deadline=None, max_examples=100)
@given(problems(most=40), st.booleans())
def test_each_pick_spans_most_volume(problem, tight):
    with pytest.MonkeyPatch.context() as patch:
        if tight:  # no room for the matrix of all pairs
            patch.setattr(similarity, "MATRIX", 4 * 100)
        assert complaints(patch, Dpp(), problem, volume) == []


def test_a_wrong_formula_is_noticed(monkeypatch):
    g = torch.Generator().manual_seed(0)
    x, none = torch.randn(1, 40, 16, generator=g), torch.zeros(1, 40, dtype=torch.bool)
    problem = VisualTokens(x), torch.rand(1, 40, generator=g), none, Split(torch.tensor([0]), torch.tensor([12]))

    def flat(unit, scores, *rest):
        return volume(unit, torch.ones_like(scores), *rest)

    def linear(unit, scores, there, picks, row):
        return volume(unit, scores, there, picks, row) / (scaled(scores, there) + 1e-6)

    def forgetful(unit, scores, there, picks, row):
        return volume(unit, scores, there, picks[-1:], row)

    assert complaints(monkeypatch, Dpp(), problem, volume) == []
    for wrong in (flat, linear, forgetful):
        assert complaints(monkeypatch, Dpp(), problem, wrong)


def test_the_first_picks_of_a_small_example(monkeypatch):
    """Relevance 1, 1, 0.5 after scaling: the duplicate of the first waits until nothing else is left."""
    x = torch.tensor([[[1.0, 0], [1, 0], [0, 1]]])
    problem = VisualTokens(x), torch.tensor([[4.0, 4, 3]]), torch.zeros(1, 3).bool()
    orders = [picked(monkeypatch, Dpp(), (*problem, Split(torch.tensor([0]), torch.tensor([n]))))[1] for n in (2, 3)]
    assert orders == [[[0, 2]], [[0, 2, 1]]]


def test_what_is_kept_spans_volume_already():
    x = torch.tensor([[[1.0, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0.9, 0.4], [0, 0, 1]]])
    kept, split = marks([4], 5)[None], Split(torch.tensor([1]), torch.tensor([2]))
    chosen = Dpp().choose(VisualTokens(x), torch.zeros(1, 5), kept, split)
    assert chosen.nonzero()[:, 1].tolist() == [0, 2]


def test_without_room_in_the_rank_the_highest_scores_fill_up():
    """Twenty tokens in four dimensions: four span it, the others go by score."""
    x = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(0))
    scores = torch.arange(20.0)[None]
    rest = scores, torch.zeros(1, 20, dtype=torch.bool)
    first = Dpp().choose(VisualTokens(x), *rest, Split(torch.tensor([0]), torch.tensor([4])))
    more = Dpp().choose(VisualTokens(x), *rest, Split(torch.tensor([0]), torch.tensor([7])))
    best = [token for token in range(19, -1, -1) if not first[0, token]][:3]
    assert torch.equal(more, first | marks(best, 20))


def test_as_released_rows_are_scaled_together():
    x, scores = exact((2, 30, 8)), torch.rand(2, 30, generator=torch.Generator().manual_seed(0)) + 1
    scores[1] -= 5  # so that the first row is nearly level among both
    rest = torch.zeros(2, 30, dtype=torch.bool), Split(torch.tensor([0, 0]), torch.tensor([6, 6]))
    for as_released in (False, True):
        part = Dpp(as_released=as_released)
        together = part.choose(VisualTokens(x), scores, *rest)
        alone = part.choose(VisualTokens(x[:1]), scores[:1], rest[0][:1], Split(torch.tensor([0]), torch.tensor([6])))
        assert torch.equal(together[0], alone[0]) is not as_released


def test_as_released_the_least_relevant_are_picked_once_and_in_the_end():
    x = torch.randn(1, 20, 64, generator=torch.Generator().manual_seed(0))
    rest = torch.arange(20.0)[None], torch.zeros(1, 20, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([20]))
    assert Dpp(as_released=True).choose(VisualTokens(x), *rest).all()


def test_as_released_loses_count_when_the_rank_is_exhausted():
    x = torch.randn(1, 60, 8, generator=torch.Generator().manual_seed(0))
    rest = torch.rand(1, 60), torch.zeros(1, 60, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([30]))
    assert Dpp().choose(VisualTokens(x), *rest).sum() == 30
    assert Dpp(as_released=True).choose(VisualTokens(x), *rest).sum() < 30


@pytest.mark.parametrize(
    ("as_released", "wanted"),
    [(False, [[0.0, 0.5, 1], [1, 0, 5]]), (True, [[0.0, 1, 2], [4, 3, 8]])],
)
def test_relevance_is_scaled_from_what_is_there_in_a_row_or_as_released_in_all(as_released, wanted, monkeypatch):
    seen = []
    monkeypatch.setattr(dpp, "Volume", lambda *given, clamp: seen.append((given[1], clamp)) or Volume(*given, clamp))
    tokens = VisualTokens(exact((2, 3, 8)), valid=torch.tensor([[True, True, True], [True, True, False]]))
    split = Split(torch.tensor([0, 0]), torch.tensor([1, 1]))
    Dpp(as_released=as_released).choose(tokens, torch.tensor([[1.0, 2, 3], [5, 4, 9]]), torch.zeros(2, 3).bool(), split)
    relevance = (torch.tensor(wanted, dtype=torch.float64) + 1e-6) / (4 if as_released else 1)
    torch.testing.assert_close(seen[0][0].double(), relevance.square(), rtol=1e-6, atol=0)
    assert seen[0][1] is not as_released


def test_what_is_spent_goes_on_by_quality_unless_it_is_let_go():
    unit, quality = torch.eye(2)[[0, 0, 1]][None], torch.tensor([[1.0, 0.25, 0.5]])
    left = []
    for clamp in ({}, {"clamp": False}):
        gains = Volume(unit, quality, 2, **clamp)
        gains.add(torch.tensor([[0]]))
        left.append(gains.now()[0].tolist())
    assert left == [[-1, -4, 0.5], [-torch.inf, 0, 0.5]]


def test_scores_that_are_all_alike_have_the_whole_of_the_scale():
    scores = torch.tensor([[3.0, 3, 3], [1, 2, 5]])
    assert share(scores, *bounds(scores, None)).tolist() == [[1, 1, 1], [0, 0.25, 1]]
