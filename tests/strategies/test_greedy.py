"""What holds of every diversifier that compares tokens: any batch, any precision, any amount of memory, any count."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.problems import exact, marks, problems, row
from torch.utils._python_dispatch import TorchDispatchMode

from tokenprune import Split, VisualTokens
from tokenprune_strategies import greedy
from tokenprune_strategies.density_peaks import DensityPeaks
from tokenprune_strategies.dpp import Dpp
from tokenprune_strategies.facility_location import FacilityLocation
from tokenprune_strategies.pivots import Pivots
from tokenprune_strategies.suppression import Suppression

GREEDY = [Dpp(), FacilityLocation(), Suppression(decay="subtract"), Suppression(decay="threshold", threshold=0.3)]
ALL = [*GREEDY, Suppression(), Pivots(), DensityPeaks()]


def problem_of(x, count, scores=None):
    batch, size, _ = x.shape
    scores = torch.rand(batch, size, generator=torch.Generator().manual_seed(1)) if scores is None else scores
    counts = torch.full((batch,), count)
    return VisualTokens(x), scores, torch.zeros(batch, size, dtype=torch.bool), Split(counts * 0, counts)


@pytest.mark.parametrize("part", GREEDY)
@settings(deadline=None, max_examples=25)
@given(problem=problems(most=30), limit=st.sampled_from((1, 4 * 30**2 * 2)))
def test_a_row_is_the_same_alone_and_in_any_group(part, problem, limit):
    together = part.choose(*problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy, "_CACHE", limit)
        assert torch.equal(part.choose(*problem), together)
    for nth in range(len(together)):
        assert torch.equal(part.choose(*row(problem, nth))[0], together[nth])


@pytest.mark.parametrize("part", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_measured_in_float32(part, dtype):
    tokens, *rest = problem_of(torch.randn(2, 80, 32, generator=torch.Generator().manual_seed(0)).to(dtype), 30)
    found = part.choose(tokens, *rest)
    assert torch.equal(found, part.choose(VisualTokens(tokens.features.float()), *rest))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(part.choose(VisualTokens(tokens.features), *rest), found)


@pytest.mark.parametrize("part", ALL)
def test_gradients_stay_out(part):
    tokens, scores, *rest = problem_of(torch.randn(1, 20, 8, generator=torch.Generator().manual_seed(0)), 6)
    needy = VisualTokens(tokens.features.clone().requires_grad_())
    chosen = part.choose(needy, scores.clone().requires_grad_(), *rest)
    assert torch.equal(chosen, part.choose(tokens, scores, *rest))


@pytest.mark.parametrize("part", ALL)
@pytest.mark.parametrize(("batch", "count", "ends"), [(0, 5, []), (2, 0, [0, 0]), (2, 6, [0, 0]), (3, 6, [6, 0, 1])])
def test_nothing_and_everything(part, batch, count, ends):
    ends = torch.tensor(ends, dtype=torch.int64)
    tokens, scores, kept, _ = problem_of(torch.ones(batch, count, 3), 0)
    chosen = part.choose(tokens, scores, kept, Split(ends * 0, ends))
    assert chosen.shape == (batch, count)
    assert chosen.sum(1).tolist() == ends.tolist()


@pytest.mark.parametrize("part", ALL)
@pytest.mark.parametrize("scores", [torch.nan, torch.inf, -torch.inf, 0.0, 3e38, -3e38])
def test_scores_of_any_size_leave_counts_exact(part, scores):
    g = torch.Generator().manual_seed(0)
    odd = torch.full((2, 30), scores).where(torch.rand(2, 30, generator=g) < 0.5, torch.randn(2, 30, generator=g))
    tokens, odd, kept, split = problem_of(exact((2, 30, 8))[:, torch.arange(30) % 9], 25, odd)  # duplicates
    assert part.choose(tokens, odd, kept, split).sum(1).tolist() == [25, 25]


def test_what_is_kept_comes_first_by_score(monkeypatch):
    seen = []

    class Gains:
        def now(self):
            return torch.arange(6.0)[None]

        def add(self, pick):
            seen.append(pick.item())

    tokens, _, _, _ = problem_of(torch.ones(1, 6, 2), 0)
    scores, kept = torch.tensor([[1.0, 5, 9, 5, 0, 0]]), marks([1, 2, 3], 6)[None]
    split = Split(torch.tensor([3]), torch.tensor([2]))
    chosen = greedy.greedy(tokens, scores, kept, split, lambda rows, steps: Gains(), 1)
    assert seen == [2, 1, 3, 5]
    assert chosen.nonzero()[:, 1].tolist() == [4, 5]


@pytest.mark.parametrize(("part", "most"), [(Dpp(), 256), (Suppression(), 256), (Pivots(), 256), (DensityPeaks(), 256)])
def test_no_tensor_is_as_large_as_all_pairs_of_many_tokens(part, most):
    """10,000 tokens: the matrix would be 400 MB; shapes only, nothing is computed."""
    sizes = []

    class Weigh(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **kwargs or {})
            sizes.append(found.numel() * found.element_size() if isinstance(found, torch.Tensor) else 0)
            return found

    tokens, _, _, split = problem_of(torch.empty(1, 1, 1), 3)
    tokens = VisualTokens(torch.empty(1, 10_000, 1024, device="meta"))
    shape = (1, 10_000)
    with Weigh():
        part.choose(
            tokens, torch.empty(shape, device="meta"), torch.zeros(shape, dtype=torch.bool, device="meta"), split
        )
    assert max(sizes) <= most * 2**20
