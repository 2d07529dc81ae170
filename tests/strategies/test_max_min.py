"""Farthest-point choice: what the plain loop picks, in any batch and any amount of memory."""

import pytest
import torch
from golden.plain import pick, unit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.problems import exact, fine, free, marks, problems, row
from torch.utils._python_dispatch import TorchDispatchMode

from tokenprune import Split, VisualTokens
from tokenprune_strategies import max_min, similarity
from tokenprune_strategies.max_min import MaxMin
from tokenprune_strategies.similarity import Similarity, far_apart, gather, mask


def plain(problem):
    """[B, N] bool, row by row in float64."""
    tokens, _, kept, split = problem
    chosen = []
    for nth, count in enumerate(split.diverse.tolist()):
        held = kept[nth].nonzero()[:, 0].tolist()
        picks = pick(unit_of(tokens.features[nth]), count, free(tokens, kept, nth), held)
        chosen.append(marks(picks, tokens.shape[1]))
    return torch.stack(chosen)


@settings(deadline=None, max_examples=150)
@given(problems(most=40), st.booleans())
def test_picks_as_the_plain_loop(problem, tight):
    """With room for the matrix of all pairs, and without."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (similarity, max_min) if tight else ():
            patch.setattr(module, "MATRIX", 4 * 100)
        assert torch.equal(MaxMin().choose(*problem), plain(problem))


@settings(deadline=None, max_examples=50)
@given(problems())
def test_a_row_is_the_same_alone(problem):
    together = MaxMin().choose(*problem)
    for nth in range(len(together)):
        assert torch.equal(MaxMin().choose(*row(problem, nth))[0], together[nth])


@pytest.mark.parametrize("memory", [2**28, 4 * 200**2, 4 * 200 * 7])
def test_the_order_of_picks_is_the_same_in_any_memory(memory, monkeypatch):
    x = fine((1, 200))
    monkeypatch.setattr(similarity, "MATRIX", memory)
    assert far_apart(VisualTokens(x).unit, 50)[0].tolist() == pick(unit_of(x[0]), 50)


@pytest.mark.parametrize("memory", [2**28, 4 * 200 * 7])
def test_autocast_does_not_blur_similarity(memory, monkeypatch):
    monkeypatch.setattr(similarity, "MATRIX", memory)
    unit = VisualTokens(torch.randn(1, 200, 64, generator=torch.Generator().manual_seed(0))).unit
    wanted = far_apart(unit, 50)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(far_apart(unit, 50), wanted)


def test_no_tensor_is_as_large_as_all_pairs_of_many_tokens():
    """10,000 tokens: at most 256 MiB at once where the matrix would be 400; shapes only, nothing is computed."""
    sizes = []

    class Weigh(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **kwargs or {})
            sizes.append(found.numel() * found.element_size() if isinstance(found, torch.Tensor) else 0)
            return found

    unit = torch.empty(1, 10_000, 1024, device="meta")
    with Weigh():
        order = far_apart(unit, 3)
    assert order.shape == (1, 3)
    assert 100 * 2**20 < max(sizes) <= 256 * 2**20


def test_the_first_pick_is_the_one_whose_nearest_other_is_farthest():
    x = torch.tensor([[[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0.5], [0, 0, 1.0]]])
    assert far_apart(VisualTokens(x).unit, 1).tolist() == [[4]]


def test_picks_are_far_from_what_is_kept():
    x = torch.tensor([[[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0.9, 0.4], [0, 0, 1.0]]])
    kept, split = marks([4], 5)[None], Split(torch.tensor([1]), torch.tensor([2]))
    chosen = MaxMin().choose(VisualTokens(x), torch.zeros(1, 5), kept, split)
    assert chosen.nonzero()[:, 1].tolist() == [0, 2]


def test_rows_that_keep_something_stand_beside_rows_that_do_not():
    x, kept = exact((3, 30, 8)), torch.stack([marks([3, 5], 30), marks([], 30), marks([7], 30)])
    problem = VisualTokens(x), torch.zeros(3, 30), kept, Split(kept.sum(1), torch.tensor([9, 4, 12]))
    assert torch.equal(MaxMin().choose(*problem), plain(problem))


def test_duplicates_are_picked_once_and_again_as_released():
    x = exact((1, 5, 8))[:, [0, 1, 2, 3, 4] * 6]  # five tokens, six times each
    rest = torch.zeros(1, 30), torch.zeros(1, 30, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([20]))
    assert MaxMin().choose(VisualTokens(x), *rest).sum() == 20
    assert MaxMin(as_released=True).choose(VisualTokens(x), *rest).sum() == 5
    order = far_apart(VisualTokens(x).unit, 20, spent=1.0)[0].tolist()
    assert order == pick(unit_of(x[0]), 20, again=True)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_vector_that_is_not_finite_is_similar_to_nothing(wrong):
    zero, spoilt = exact((1, 50, 8)), exact((1, 50, 8))
    zero[0, ::4], spoilt[0, ::4, 3] = 0, wrong
    rest = torch.zeros(1, 50), torch.zeros(1, 50, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([20]))
    chosen = MaxMin().choose(VisualTokens(spoilt), *rest)
    assert chosen.sum() == 20
    assert torch.equal(chosen, MaxMin().choose(VisualTokens(zero), *rest))


@settings(deadline=None, max_examples=30)
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(problem, random):
    tokens, scores, kept, split = problem
    rows = torch.tensor(random.sample(range(len(kept)), len(kept)))
    valid = None if tokens.valid is None else tokens.valid[rows]
    part = Split(split.important[rows], split.diverse[rows])
    again = MaxMin().choose(VisualTokens(tokens.features[rows], valid=valid), scores[rows], kept[rows], part)
    assert torch.equal(again, MaxMin().choose(*problem)[rows])


def test_half_precision_is_measured_in_float32():
    x = torch.randn(2, 80, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    rest = torch.zeros(2, 80), torch.zeros(2, 80, dtype=torch.bool), Split(torch.tensor([0, 0]), torch.tensor([30, 30]))
    assert torch.equal(MaxMin().choose(VisualTokens(x), *rest), MaxMin().choose(VisualTokens(x.float()), *rest))


@pytest.mark.parametrize(("batch", "count", "ends"), [(0, 5, []), (2, 0, [0, 0]), (2, 6, [0, 0]), (2, 6, [6, 1])])
def test_nothing_and_everything(batch, count, ends):
    ends = torch.tensor(ends, dtype=torch.int64)
    split, shape = Split(ends * 0, ends), (batch, count)
    chosen = MaxMin().choose(
        VisualTokens(torch.ones(*shape, 3)), torch.zeros(shape), torch.zeros(shape, dtype=torch.bool), split
    )
    assert chosen.shape == shape
    assert chosen.sum(1).tolist() == ends.tolist()


def test_what_is_kept_is_not_picked():
    kept = marks([0, 3], 20)[None]
    order = far_apart(VisualTokens(exact((1, 20, 8))).unit, 18, kept=kept)
    assert sorted(order[0].tolist()) == [token for token in range(20) if token not in (0, 3)]


def test_the_first_is_far_from_tokens_of_the_pool_alone_where_its_row_has_none_to_be_far_from():
    unit = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0.6, 0.8]]).expand(2, -1, -1)
    pool = ~marks([1], 4).expand(2, -1)
    assert far_apart(unit, 1, pool).tolist() == [[0], [0]]
    kept = torch.stack([marks([], 4), marks([3], 4)])
    assert far_apart(unit.flip(1), 1, pool.flip(1) & ~kept, kept).tolist() == [[3], [1]]


@pytest.mark.parametrize("room", [True, False])
def test_cosines_to_a_pick_are_kept_where_there_is_room(room, monkeypatch):
    monkeypatch.setattr(similarity, "MATRIX", 4 * 6**2 - (not room))
    unit, pick = VisualTokens(exact((2, 6, 8))).unit, torch.tensor([[3], [5]])
    found = Similarity(unit)
    assert (found._matrix is not None) is room
    assert torch.equal(found.to(pick), torch.stack([unit[0] @ unit[0, 3], unit[1] @ unit[1, 5]]))


def test_a_mask_is_true_or_false():
    found = mask(torch.tensor([[2, 0], [1, 0]]), [1, 2], 3)
    assert (found.dtype, found.int().tolist()) == (torch.bool, [[0, 0, 1], [1, 1, 0]])


def test_vectors_are_gathered_from_any_layout():
    x, index = torch.arange(24.0).view(2, 3, 4), torch.tensor([[2, 0], [3, 3]])
    wanted = torch.stack([one.mT[rows] for one, rows in zip(x, index, strict=True)])
    assert torch.equal(gather(x.mT, index), wanted)
    assert torch.equal(gather(x.mT.contiguous(), index), wanted)
