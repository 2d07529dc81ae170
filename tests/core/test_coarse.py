"""Which slots the tokens of a smaller image take."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune import Budget, VisualTokens, load
from tokenprune.coarse import coarser, size, sizes
from tokenprune.errors import PipelineError

DOWNSAMPLE = {"name": "d", "site": "image", "splitter": "equal", "budget": "25%"}


def grid(height, width, rows=1, **rest):
    return VisualTokens.on_grid(torch.zeros(rows, height * width, 1), (height, width), **rest)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_smaller_image_has_the_same_shape_and_no_token_too_many(height, width, data):
    count = data.draw(st.integers(0, height * width))
    high, wide = size(count, height, width)
    assert high * wide <= count
    assert high <= height
    assert wide <= width
    scale = (count / (height * width)) ** 0.5
    if min(high, wide) > 1:
        assert abs(high - height * scale) <= 1
        assert abs(wide - width * scale) <= 1
    assert (high + 1) * (wide + 1) > count or not count
    assert high * wide > 0 or not count


@pytest.mark.parametrize(
    ("count", "found"), [(144, (12, 12)), (143, (11, 12)), (64, (8, 8)), (71, (8, 8)), (72, (8, 9)), (576, (24, 24))]
)
def test_sides_of_a_square(count, found):
    assert size(count, 24, 24) == found


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_its_tokens_stand_in_the_middle_of_what_they_replace(height, width, data):
    counts = torch.tensor(data.draw(st.lists(st.integers(0, height * width), min_size=1, max_size=4)))
    tokens = grid(height, width, len(counts))
    for mask, full, (high, wide) in zip(
        coarser(tokens, counts).mask, counts == height * width, sizes(tokens, counts), strict=True
    ):
        rows = [int((y + 0.5) * height / high + 1e-9) for y in range(high)]
        columns = [int((x + 0.5) * width / wide + 1e-9) for x in range(wide)]
        assert mask.nonzero()[:, 0].tolist() == [y * width + x for y in rows for x in columns]
        assert full == mask.all()


def test_what_stays_whole_is_not_replaced():
    found = coarser(grid(4, 4, 2), torch.tensor([16, 4]))
    assert (found.important.sum(1).tolist(), found.merged.sum(1).tolist()) == ([16, 0], [0, 4])


def test_tokens_without_a_map_are_cut_into_runs():
    valid = torch.tensor([[True] * 9, [False, True, True] * 3])
    found = coarser(VisualTokens(torch.zeros(2, 9, 1), valid=valid), torch.tensor([3, 2])).merged
    assert [row.nonzero()[:, 0].tolist() for row in found] == [[1, 4, 7], [2, 7]]


def test_rows_of_a_unit_share_its_budget():
    tokens = grid(4, 4, 3, group=torch.tensor([0, 1, 2]), sample=torch.tensor([0, 0, 1]))
    chosen = load(DOWNSAMPLE, budget="18 per prompt").select(tokens)
    assert chosen.counts.tolist() == [9, 9, 16]
    assert load(DOWNSAMPLE).stages[0].adaptive
    assert Budget.parse("18 per prompt") == load(DOWNSAMPLE, budget="18 per prompt").budget


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"scorer": "uniform"}, "site: image chooses no tokens, so leave out scorer"),
        ({"merger": "pool", "diversifier": "max_min"}, "leave out diversifier, merger"),
        ({"splitter": "global_pool"}, "there are tokens to read; write splitter: equal"),
        ({"splitter": "adaptive"}, "write splitter: equal"),
        ({"splitter": "thumbnail_guided"}, "write splitter: equal"),
    ],
)
def test_an_image_is_not_chosen_from(parts, said):
    with pytest.raises(PipelineError, match=said):
        load({**DOWNSAMPLE, **parts})
