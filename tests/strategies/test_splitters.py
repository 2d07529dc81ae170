"""Dividing a budget over rows and between important and diverse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune import Budget, VisualTokens, load
from tokenprune_strategies.adaptive import Adaptive
from tokenprune_strategies.equal import Equal
from tokenprune_strategies.global_pool import GlobalPool
from tokenprune_strategies.overview import at_places, maps, overview_of
from tokenprune_strategies.overview_sums import _cell, seen_in_rows
from tokenprune_strategies.proportional import Proportional
from tokenprune_strategies.thumbnail_guided import ThumbnailGuided
from tokenprune_strategies.wishes import quantile, wishes


@st.composite
def batches(draw):
    """Rows of up to 12 tokens, some of them valid, in up to three images."""
    batch, count = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    lengths = draw(st.lists(st.integers(0, count), min_size=batch, max_size=batch))
    group = torch.tensor(draw(st.lists(st.integers(0, 2), min_size=batch, max_size=batch)))
    x = torch.randn(batch, count, 4, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    valid = torch.arange(count) < torch.tensor(lengths)[:, None]
    return VisualTokens(x, valid=valid, group=group, cues={"cls_attention": x.abs().sum(-1)})


BUDGETS = st.one_of(
    st.integers(1, 40), st.sampled_from((0.25, 0.5, "0%", "100%", "11.1%", "3 per row", "40% per prompt"))
)


@settings(deadline=None, max_examples=150)
@given(batches(), BUDGETS, st.sampled_from((0.0, 0.29, 0.5, 1.0)))
def test_equal_gives_every_row_alike_as_far_as_it_goes(tokens, budget, share):
    budget = Budget.parse(budget)
    split = Equal(important=share).split(tokens, torch.zeros(tokens.shape), budget)
    assert torch.equal(split.important, torch.tensor([int(total * share) for total in split.total.tolist()]))
    for rows, total in budget.units(tokens):
        given_, caps = split.total[rows].tolist(), tokens.counts[rows].tolist()
        assert sum(given_) == total
        most = max(given_)
        assert all(most - count <= 1 or count == cap for count, cap in zip(given_, caps, strict=True))


@pytest.mark.parametrize(
    ("total", "share", "important"), [(100, 0.29, 28), (100, 0.57, 56), (50, 0.58, 28), (1, 0.5, 0)]
)
def test_important_is_rounded_down_as_the_authors_do(total, share, important):
    split = Equal(important=share).split(VisualTokens(torch.zeros(1, 256, 1)), torch.zeros(1, 256), Budget.parse(total))
    assert (split.important.item(), split.total.item()) == (important, total)


@pytest.mark.parametrize(
    ("lengths", "budget", "counts"),
    [
        ([30] * 5, 64, [13, 13, 12, 13, 13]),
        ([30] * 8, 2, [0, 1, 0, 0, 0, 1, 0, 0]),
        ([30] * 2, 3, [2, 1]),
        ([30] * 7, 3, [0, 1, 0, 1, 0, 1, 0]),
        ([0, 30, 1, 30, 30], 10, [0, 3, 1, 3, 3]),
        ([30, 1, 30, 30, 2, 30], 12, [2, 1, 3, 2, 2, 2]),
        ([3, 3, 3], 9, [3, 3, 3]),
    ],
)
def test_rows_with_one_more_are_evenly_spread(lengths, budget, counts):
    valid = torch.arange(30) < torch.tensor(lengths)[:, None]
    tokens = VisualTokens(torch.zeros(*valid.shape, 1), valid=valid, group=torch.zeros(len(lengths)).long())
    assert Equal().split(tokens, torch.zeros(valid.shape), Budget.parse(budget)).total.tolist() == counts


def test_one_more_is_spread_in_each_image():
    tokens = VisualTokens(torch.zeros(6, 9, 1), group=torch.tensor([0, 1, 0, 1, 0, 1]))
    assert Equal().split(tokens, torch.zeros(6, 9), Budget.parse(1)).total.tolist() == [0, 0, 1, 1, 0, 0]


def test_an_image_that_is_full_ends_nothing():
    valid = torch.arange(9) < torch.tensor([1, 9, 9, 9])[:, None]
    tokens = VisualTokens(torch.zeros(4, 9, 1), valid=valid, group=torch.tensor([0, 1, 1, 1]))
    assert Equal().split(tokens, torch.zeros(4, 9), Budget.parse(2)).total.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("total", "important", "merged", "parts"),
    [(10, 0.5, 0.25, (5, 2, 3)), (10, 0.5, 1.0, (0, 0, 10)), (9, 1.0, 0.5, (4, 0, 5)), (3, 0.0, 0.1, (0, 3, 0))],
)
def test_merged_is_the_nearest_and_comes_before_important(total, important, merged, parts):
    tokens = VisualTokens(torch.zeros(1, 12, 1))
    split = Equal(important=important, merged=merged).split(tokens, torch.zeros(1, 12), Budget.parse(total))
    assert (split.important.item(), split.diverse.item(), split.merged.item()) == parts


@pytest.mark.parametrize("kind", [Proportional, GlobalPool])
def test_other_splitters_divide_a_count_as_equal_does(kind):
    tokens, scores = VisualTokens(torch.zeros(1, 12, 1)), torch.ones(1, 12)
    split = kind(important=0.5, merged=0.25).split(tokens, scores, Budget.parse(10))
    assert (split.important.item(), split.diverse.item(), split.merged.item()) == (5, 2, 3)


def test_of_what_an_image_asks_for_a_share_is_important():
    tokens, scores = VisualTokens(torch.zeros(1, 12, 1)), (torch.arange(12) < 8).float()[None]
    split = Adaptive(by="entropy", important=0.7, residual=1).split(tokens, scores, Budget.parse(10))
    assert (split.important.item(), split.diverse.item(), split.merged.item()) == (5, 3, 1)
    assert Adaptive().adaptive


@pytest.mark.parametrize("kind", [Equal, Proportional, Adaptive])
def test_counts_of_no_rows_are_whole_numbers_too(kind):
    split = kind().split(VisualTokens(torch.zeros(0, 6, 1)), torch.zeros(0, 6), Budget.parse(3))
    assert {part.dtype for part in (split.important, split.diverse, split.merged)} == {torch.int64}


@settings(deadline=None, max_examples=60)
@given(batches(), BUDGETS)
@pytest.mark.parametrize("name", ["vispruner", "fastervlm", "divprune", "random", "uniform"])
def test_every_pipeline_keeps_exactly_its_budget_of_valid_tokens(name, tokens, budget):
    pipeline = load(name, budget=budget)
    selection = pipeline.select(tokens)
    assert not (selection.important & selection.diverse).any()
    assert not (selection.mask & ~tokens.valid).any()
    for rows, total in pipeline.budget.units(tokens):
        assert selection.counts[rows].sum() == total


def test_a_pool_is_chosen_from_as_one_row():
    """DivPrune on the crops of an image is DivPrune on all their tokens laid end to end."""
    x = torch.randn(4, 30, 8, generator=torch.Generator().manual_seed(0))
    pooled = load("divprune", budget=20).select(VisualTokens(x, group=torch.tensor([1, 0, 1, 1]))).mask
    one = load("divprune", budget=20).select(VisualTokens(x[[0, 2, 3]].reshape(1, 90, 8))).mask
    other = load("divprune", budget=20).select(VisualTokens(x[1:2])).mask
    assert torch.equal(pooled[[0, 2, 3]].view(1, 90), one)
    assert torch.equal(pooled[1:2], other)


def test_a_pool_ranks_all_rows_together():
    cues = {"cls_attention": torch.tensor([[1, 2, 3.0], [7, 8, 9], [4, 5, 6]])}
    tokens = VisualTokens(torch.zeros(3, 3, 1), cues=cues, group=torch.zeros(3).long())
    assert GlobalPool().pools
    mask = load("fastervlm", splitter="global_pool", budget=4).select(tokens).mask
    assert mask.tolist() == [[False] * 3, [True] * 3, [False, False, True]]


# --- by what the scores say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, [2, 6, 0]),  # means 1, 3, 0
        ({"of": "sum"}, [4, 4, 0]),  # sums 6, 6, 0: the second row has two tokens, and takes no more
        ({"how": "softmax"}, [1, 6, 1]),  # 1 : e^2 : e^-1
        ({"how": "softmax", "temperature": 1e6}, [3, 3, 2]),
    ],
)
def test_rows_get_what_their_scores_say(settings, counts):
    scores = torch.tensor([[1.0] * 6, [3.0] * 6, [0.0] * 6])
    valid = torch.ones(3, 6).bool()
    if settings.get("of") == "sum":
        valid[1, 4:], scores[1] = False, 1.5
    tokens = VisualTokens(torch.zeros(3, 6, 1), valid=valid, group=torch.zeros(3).long())
    assert Proportional(**settings).split(tokens, scores, Budget.parse(8)).total.tolist() == counts


def test_sums_count_tokens_and_means_do_not():
    scores = torch.tensor([[1.0] * 6, [1.5] * 4 + [0.0] * 2])
    tokens = VisualTokens(torch.zeros(2, 6, 1), valid=scores > 0, group=torch.zeros(2).long())
    for of, counts in (("sum", [3, 3]), ("mean", [2, 4])):
        assert Proportional(of=of).split(tokens, scores, Budget.parse(6)).total.tolist() == counts


def test_scores_below_zero_weigh_nothing_or_less():
    tokens = VisualTokens(torch.zeros(2, 20, 1), group=torch.zeros(2).long())
    scores = torch.tensor([[-3.0] * 20, [0.1] * 20])
    assert Proportional().split(tokens, scores, Budget.parse(20)).total.tolist() == [0, 20]
    assert Proportional(how="softmax").split(tokens, scores, Budget.parse(20)).total.tolist() == [1, 19]


def test_images_do_not_share_a_budget():
    scores = torch.tensor([[1.0] * 6, [3.0] * 6])
    tokens = VisualTokens(torch.zeros(2, 6, 1))
    for how in ("linear", "softmax"):
        assert Proportional(how=how).split(tokens, scores, Budget.parse(3)).total.tolist() == [3, 3]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("how", ["linear", "softmax"])
def test_odd_scores_divide_a_budget_too(odd, how):
    tokens = VisualTokens(torch.zeros(2, 6, 1), group=torch.zeros(2).long())
    split = Proportional(how=how, of="sum").split(tokens, torch.full((2, 6), odd), Budget.parse(5))
    assert split.total.sum() == 5


# --- as many as an image asks for ------------------------------------------------------------------------------------


def test_outliers_are_counted_as_in_a_box_plot():
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) ** 3
    valid = torch.rand(5, 40, generator=torch.Generator().manual_seed(1)) < 0.8
    found = wishes(VisualTokens(torch.zeros(5, 40, 1), valid=valid), x, "outliers").tolist()
    for row, count in enumerate(found):
        values = x[row, valid[row]]
        low, high = values.quantile(0.25), values.quantile(0.75)
        assert count == (values > high + 1.5 * (high - low)).sum()
    assert min(found) > 0


def test_entropy_and_rank_are_effective_numbers():
    four = torch.tensor([[1.0, 1, 1, 1, 0, 0], [5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    assert wishes(VisualTokens(torch.zeros(3, 6, 1)), four, "entropy").tolist() == [4, 1, 0]
    axes = torch.eye(6)[[0, 0, 1, 1, 2, 2]]
    features = torch.stack([axes, axes[:1].expand(6, 6), torch.eye(6)])
    valid = torch.ones(3, 6).bool()
    valid[2, 4:] = False
    assert wishes(VisualTokens(features, valid=valid), four, "rank").tolist() == [3, 1, 4]


def test_scores_that_are_alike_hold_no_outliers_and_sizes_do_not_matter():
    tokens = VisualTokens(torch.zeros(2, 6, 1))
    assert wishes(tokens, torch.ones(2, 6), "outliers").tolist() == [0, 0]
    four = torch.tensor([1.0, 1, 1, 1, 0, 0])
    assert wishes(tokens, torch.stack([four * 1e30, four * 1e-30]), "entropy").tolist() == [4, 4]


def test_what_is_not_valid_or_zero_has_no_rank():
    one = torch.tensor([[True] + [False] * 5, [True] * 6])
    features = torch.stack([torch.eye(6), torch.zeros(6, 6)])
    assert wishes(VisualTokens(features, valid=one), torch.zeros(2, 6), "rank").tolist() == [1, 0]
    assert quantile(torch.ones(2, 6), one & False, 0.25).tolist() == [[0], [0]]


def test_of_an_image_that_asks_for_nothing_one_token_stays():
    tokens = VisualTokens(torch.zeros(1, 6, 1))
    assert Adaptive(by="entropy").split(tokens, torch.zeros(1, 6), Budget.parse(5)).total.tolist() == [1]


@settings(deadline=None, max_examples=60)
@given(batches(), BUDGETS, st.sampled_from(("outliers", "entropy", "rank")), st.integers(0, 2))
def test_the_budget_is_a_ceiling(tokens, budget, by, residual):
    budget, scores = Budget.parse(budget), tokens.cue("cls_attention")
    split = Adaptive(by=by, residual=residual).split(tokens, scores, budget)
    wanted = wishes(tokens, scores, by) + residual
    assert torch.equal(split.merged, (split.total - 1).clamp(0, residual))
    for rows, total in budget.units(tokens):
        kept, everything = split.total[rows].sum(), tokens.counts[rows].sum()
        wish = int(wanted[rows].minimum(tokens.counts[rows]).sum())
        assert kept == (total if total == everything else min(total, max(1, wish)))


# --- by what a thumbnail sees ----------------------------------------------------------------------------------------


def of_two_images():
    """A thumbnail with two crops, a row without one, and four crops, padded left and right, whose thumbnail is last."""
    cell = torch.arange(9)
    own = torch.stack([cell // 3, cell % 3], -1)  # [N, 2]
    corners = [(0, 0), (0, 0), (0, 3), (0, 0), (0, -1), (0, 2), (3, -1), (3, 2), (0, 0)]
    canvas = torch.tensor([[3, 3], [3, 6], [3, 6], [3, 3], *[[6, 4]] * 4, [3, 3]])
    place = own + torch.tensor(corners)[:, None]
    valid = ((place >= 0) & (place < canvas[:, None])).all(-1)
    overview = torch.tensor([True, *[False] * 7, True])
    cues = {"cls_logits": torch.rand(9, 9, generator=torch.Generator().manual_seed(0))}
    rest = {"canvas": canvas, "overview": overview, "group": torch.tensor([0, 0, 0, 5, 2, 2, 2, 2, 2])}
    return VisualTokens(torch.zeros(9, 9, 1), cues, valid, place.masked_fill(~valid[..., None], -1), **rest)


def seen(tokens, thumbnail, crop):
    """The sum of a thumbnail's scores over those of its tokens that lie in the crop."""
    size, canvas = tokens.canvas[thumbnail].tolist(), tokens.canvas[crop].tolist()
    cells, total = tokens.place[crop].tolist(), 0.0
    for place, score in zip(
        tokens.place[thumbnail].tolist(), tokens.cue("cls_logits")[thumbnail].tolist(), strict=True
    ):
        total += score * ([int((at + 0.5) * canvas[axis] / size[axis]) for axis, at in enumerate(place)] in cells)
    return total


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_crops_weigh_what_their_thumbnail_sees_in_them(temperature):
    tokens = of_two_images()
    wanted = [9.0, 0, 0, 9, 0, 0, 0, 0, 9]
    for thumbnail, crops in ((0, [1, 2]), (8, [4, 5, 6, 7])):
        shares = (torch.tensor([seen(tokens, thumbnail, crop) for crop in crops]) / temperature).softmax(0)
        for crop, share in zip(crops, shares.tolist(), strict=True):
            wanted[crop] = int(tokens.counts[crop]) * (1 + share - 1 / len(crops))
    assert ThumbnailGuided(temperature=temperature).weights(tokens) == pytest.approx(wanted)
    split = ThumbnailGuided(important=0.5).split(tokens, torch.zeros(9, 9), Budget.parse("50%"))
    assert [int(split.total[rows].sum()) for rows, _ in Budget.parse("50%").units(tokens)] == [14, 5, 17]
    assert torch.equal(split.important, split.total // 2)
    assert not split.merged.any()


def test_rows_without_a_thumbnail_weigh_what_they_hold():
    assert ThumbnailGuided().weights(VisualTokens(torch.zeros(2, 6, 1))) == [6, 6]
    assert ThumbnailGuided().weights(VisualTokens(torch.zeros(0, 6, 1))) == []


def mapped(places, canvas, **rest):
    """Rows with tokens at these places of their maps."""
    place = torch.tensor(places)
    return VisualTokens(torch.zeros(*place.shape[:2], 1), place=place, canvas=torch.tensor(canvas), **rest)


def test_rows_with_no_part_in_a_thumbnail_weigh_what_they_hold_whatever_it_sees():
    """A thumbnail of scores whose exponential is no float, its crop, and a row that is a corner of its own map."""
    places = [[(0, 0), (0, 1), (1, 0), (1, 1)]] * 2 + [[(1, 1)] * 4]
    rest = {"overview": torch.tensor([True, False, False]), "group": torch.tensor([0, 0, 1])}
    tokens = mapped(places, [[2, 2]] * 3, cues={"cls_logits": torch.full((3, 4), 500.0)}, **rest)
    assert ThumbnailGuided(temperature=1.0).weights(tokens) == [4, 4, 4]


def test_rows_without_a_thumbnail_or_a_map_are_told():
    places, marked = [[(0, 0), (0, 1)]] * 3, torch.tensor([True, False, False])
    tokens = mapped(places, [[1, 2]] * 3, overview=marked, group=torch.tensor([0, 0, 1]))
    assert overview_of(tokens) == [-1, 0, -1]
    bare = VisualTokens(tokens.features, place=tokens.place, overview=marked, group=tokens.group)
    assert overview_of(bare) == [-1, -1, -1]


def test_what_lies_beyond_a_map_is_not_on_it():
    tokens = mapped([[(0, 0), (0, 2), (1, 0), (1, 1)]], [[1, 2]])
    assert maps(torch.arange(1.0, 5)[None], tokens).tolist() == [[1, 0, 0, 0]]
    beyond = torch.tensor([[(-1, 0), (0, -1), (2, 0), (0, 3), (1, 2)]])
    assert _cell(beyond, torch.tensor([[2, 3]]), 40).tolist() == [[40, 40, 40, 40, 5]]
    tokens = mapped([[(0, 0), (0, 5)], [(0, 0), (0, 0)]], [[1, 2], [1, 2]], group=torch.tensor([0, 0]))
    assert seen_in_rows(torch.tensor([[1.0, 10], [0, 0]]), tokens, [-1, 0])[1] == 1


def test_a_map_with_more_cells_than_tokens_ends_with_the_last():
    tokens = mapped([[(0, 0), (0, 1), (0, 2), (1, 2)]] * 2, [[2, 3]] * 2)
    assert at_places(torch.tensor([[1.0, 2, 3, 4]]).expand(2, -1), tokens, [-1, 0])[1].tolist() == [1, 2, 3, 4]
