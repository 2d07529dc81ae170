"""Removal of near-duplicates: what the plain loop chooses, in any batch."""

from itertools import pairwise

import pytest
import torch
from golden.plain import thin, unit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from strategies.problems import exact, fine, free, marks, problems, row

from tokenprune import Split, VisualTokens
from tokenprune_strategies import similarity_dedup
from tokenprune_strategies.similarity_dedup import SimilarityDedup
from tokenprune_strategies.thinning import Thinning, lengths

STEPS = st.sampled_from((1, 2, 3, 8, 1000))


def plain(problem, step):
    """[B, N] bool, row by row in float64."""
    tokens, scores, kept, split = problem
    chosen = []
    for nth, end in enumerate(split.diverse.tolist()):
        listed = sorted(free(tokens, kept, nth), key=lambda token: -float(scores[nth, token]))
        listed = thin(unit_of(tokens.features[nth]), listed, end, step)[-1]
        chosen.append(marks(listed, tokens.shape[1]))
    return torch.stack(chosen)


@settings(deadline=None, max_examples=150)
@given(problems(), STEPS)
def test_chooses_as_the_plain_loop(problem, step):
    assert torch.equal(SimilarityDedup(step=step).choose(*problem), plain(problem, step))


@settings(deadline=None, max_examples=50)
@given(problems(), STEPS)
def test_a_row_is_the_same_alone(problem, step):
    together = SimilarityDedup(step=step).choose(*problem)
    for nth in range(len(together)):
        assert torch.equal(SimilarityDedup(step=step).choose(*row(problem, nth))[0], together[nth])


@pytest.mark.parametrize(
    ("count", "end", "step"),
    [(300, 10, 8), (301, 64, 8), (577, 1, 8), (450, 33, 3), (400, 7, 64), (300, 3, 140), (600, 9, 1000)],
)
def test_long_lists(count, end, step):
    """Long enough that the matrix shrinks several times and classes of maxima are carried over rounds."""
    tokens, nothing = VisualTokens(fine((2, count), seed=count)), torch.zeros(2, dtype=torch.int64)
    problem = tokens, torch.zeros(2, count), torch.zeros(2, count, dtype=torch.bool), Split(nothing, nothing + end)
    assert torch.equal(SimilarityDedup(step=step).choose(*problem), plain(problem, step))


@pytest.mark.parametrize("ends", [(10, 200), (64, 64), (300, 1)])
def test_long_ragged_lists(ends):
    x = fine((2, 300), seed=3)
    valid = torch.rand(2, 300, generator=torch.Generator().manual_seed(1)) < torch.tensor([[0.8], [1.1]])
    ends = torch.minimum(torch.tensor(ends), valid.sum(1))
    problem = VisualTokens(x, valid=valid), x[..., 0] * 0, ~valid & False, Split(ends * 0, ends)
    assert torch.equal(SimilarityDedup().choose(*problem), plain(problem, 8))


def groups_seen(monkeypatch):
    """How many rows are thinned together, time after time."""
    seen = []
    monkeypatch.setattr(similarity_dedup, "Thinning", lambda unit: seen.append(len(unit)) or Thinning(unit))
    return seen


@pytest.mark.parametrize(("cache", "sizes"), [(1, [1] * 5), (2 * 4 * 40**2, [2, 2, 1])])
def test_rows_in_groups_are_the_same(cache, sizes, monkeypatch):
    """One row at a time, and two; some lists are shorter than the longest of the batch."""
    valid = torch.arange(40) < torch.tensor([40, 40, 33, 20, 33])[:, None]
    tokens, scores = VisualTokens(exact((5, 40, 8)), valid=valid), torch.zeros(5, 40)
    split = Split(torch.zeros(5).long(), torch.tensor([3, 4, 4, 0, 33]))
    together = SimilarityDedup().choose(tokens, scores, ~valid & False, split)
    monkeypatch.setattr(similarity_dedup, "_CACHE", cache)
    seen = groups_seen(monkeypatch)
    assert torch.equal(SimilarityDedup().choose(tokens, scores, ~valid & False, split), together)
    assert seen == sizes


def test_a_device_with_more_memory_than_cache_thins_more_rows_together(monkeypatch):
    monkeypatch.setattr(similarity_dedup, "_CACHE", 1)
    seen, x = groups_seen(monkeypatch), torch.zeros(3, 10, 4, device="meta")
    split = Split(torch.zeros(3).long(), torch.full((3,), 4))
    SimilarityDedup().choose(VisualTokens(x), x[..., 0], x[..., 0].bool(), split)
    assert seen == [3]


@settings(deadline=None, max_examples=30)
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_tokens_does_not_matter(problem, random):
    tokens, _, kept, split = problem
    batch, count = tokens.shape
    rows, places = torch.tensor(random.sample(range(batch), batch)), torch.tensor(random.sample(range(count), count))
    scores = torch.rand(batch, count, generator=torch.Generator().manual_seed(1)).argsort(1).float()  # no ties
    valid = None if tokens.valid is None else tokens.valid[rows][:, places]
    other = VisualTokens(tokens.features[rows][:, places], valid=valid)
    part = Split(split.important[rows], split.diverse[rows])
    chosen = SimilarityDedup().choose(tokens, scores, kept, split)
    again = SimilarityDedup().choose(other, scores[rows][:, places], kept[rows][:, places], part)
    assert torch.equal(again, chosen[rows][:, places])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_vector_that_is_not_finite_is_similar_to_nothing(wrong, dtype):
    x = exact((1, 50, 8)).to(dtype)
    zero, spoilt = x.clone(), x.clone()
    zero[0, ::4], spoilt[0, ::4, 3] = 0, wrong
    rest = torch.zeros(1, 50), torch.zeros(1, 50, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([20]))
    chosen = SimilarityDedup().choose(VisualTokens(spoilt), *rest)
    assert chosen.sum() == 20
    assert torch.equal(chosen, SimilarityDedup().choose(VisualTokens(zero), *rest))


def test_scores_that_are_nan_stand_first():
    """Of two tokens that are alike, the one that is listed first goes."""
    x = torch.eye(8)[None, [0, 1, 2, 3, 4, 0]]
    scores = torch.tensor([[0.5, 0.1, 0.2, 0.3, 0.4, float("nan")]])  # listed: 5, 0, 4, 3, 2, 1
    split = Split(torch.tensor([0]), torch.tensor([5]))
    chosen = SimilarityDedup().choose(VisualTokens(x), scores, torch.zeros(1, 6, dtype=torch.bool), split)
    assert chosen.tolist() == [[True] * 5 + [False]]


def test_clusters_of_copies_lose_their_copies():
    """Five copies of each of twelve tokens that have nothing in common: all twelve are still there at the end."""
    x = torch.eye(12).repeat_interleave(5, 0)[None]
    split = Split(torch.tensor([0]), torch.tensor([20]))
    chosen = SimilarityDedup().choose(VisualTokens(x), torch.zeros(1, 60), torch.zeros(1, 60, dtype=torch.bool), split)
    assert chosen.view(12, 5).any(1).all()


@pytest.mark.parametrize(("batch", "count", "ends"), [(0, 5, []), (2, 0, [0, 0]), (2, 6, [0, 0]), (2, 6, [6, 6])])
def test_nothing_and_everything(batch, count, ends):
    ends = torch.tensor(ends, dtype=torch.int64)
    split, shape = Split(ends * 0, ends), (batch, count)
    chosen = SimilarityDedup().choose(
        VisualTokens(torch.ones(*shape, 3)), torch.zeros(shape), torch.zeros(shape, dtype=torch.bool), split
    )
    assert chosen.shape == shape
    assert chosen.sum(1).tolist() == ends.tolist()


def test_autocast_does_not_blur_similarity():
    tokens = VisualTokens(torch.randn(2, 200, 64, generator=torch.Generator().manual_seed(0)))
    split = Split(torch.tensor([0, 0]), torch.tensor([40, 41]))
    rest = torch.zeros(2, 200), torch.zeros(2, 200, dtype=torch.bool), split
    wanted = SimilarityDedup().choose(tokens, *rest)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(SimilarityDedup().choose(VisualTokens(tokens.features), *rest), wanted)


def test_gradients_do_not_get_in_the_way():
    features = torch.randn(2, 100, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rest = torch.zeros(2, 100), torch.zeros(2, 100, dtype=torch.bool), Split(torch.tensor([0, 0]), torch.tensor([9, 9]))
    assert SimilarityDedup().choose(VisualTokens(features), *rest).sum() == 18


def test_the_last_list_has_the_order_of_the_plain_loop():
    x = fine((1, 200))
    found = Thinning(VisualTokens(x).unit).run([200], [40], 8)
    assert found[0].tolist() == thin(unit_of(x[0]), range(200), 40, 8)[-1]


def test_lists_of_different_lengths_are_cut_to_what_is_left_of_the_longest():
    x = fine((2, 200))
    found = Thinning(VisualTokens(x).unit).run([200, 150], [40, 30], 8)
    assert found.shape == (2, 40)
    assert found[0].tolist() == thin(unit_of(x[0]), range(200), 40, 8)[-1]
    assert sorted(found[1, :30].tolist()) == sorted(thin(unit_of(x[1]), range(150), 30, 8)[-1])


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 600))
def test_a_round_drops_a_step_or_what_is_asked_for_or_every_even_place(start, end, step):
    found = lengths(start, min(start, end), step)
    assert (found[0], found[-1]) == (start, min(start, end))
    for now, then in pairwise(found):
        assert now - then == min(step, now - end, (now + 1) // 2)


def test_a_round_drops_at_least_one():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        SimilarityDedup(step=0)
