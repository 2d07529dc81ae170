"""Merges against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune import Budget, Merge, Selection, Split, VisualTokens, load
from tokenprune.pool import Pool
from tokenprune.selection import _scattered


@st.composite
def merges(draw, rows=3, most=6):
    """A merge of B rows of N tokens whose edges may go anywhere, and N."""
    batch, count, edges = draw(st.integers(1, rows)), draw(st.integers(1, most)), draw(st.integers(0, 12))
    token = st.integers(0, batch * count - 1)
    source, target = ([draw(token) for _ in range(edges)] for _ in range(2))
    weight = [draw(st.sampled_from((0.0, 0.25, 0.5, 1.0, -2.0))) for _ in range(edges)]
    carriers = torch.tensor([draw(st.booleans()) for _ in range(batch * count)]).view(batch, count)
    edge = [torch.tensor(part, dtype=torch.int64) for part in (source, target)]
    return Merge(carriers, *edge, torch.tensor(weight, dtype=torch.float32))


def folded(merge, stream):
    """What a merge makes of a stream [S, C], one edge after the other."""
    new = {}
    for source, target, weight in zip(*(x.tolist() for x in (merge.source, merge.target, merge.weight)), strict=True):
        if weight:
            new[target] = new.get(target, 0) + weight * stream[source].double()
    return torch.stack([new.get(at, vector.double()) for at, vector in enumerate(stream)])


def whole(shape, seed=0):
    """Small whole numbers: sums of quarters of them are exact even in half precision."""
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=100)
@given(merges(), st.sampled_from((torch.float32, torch.float16, torch.bfloat16, torch.float64)))
def test_every_target_gets_the_sum_of_its_edges_and_others_stay(merge, dtype):
    stream = whole((merge.carriers.numel(), 3)).to(dtype)
    before = stream.clone()
    found = merge.apply(stream)
    assert found.dtype == dtype
    assert torch.equal(found.double(), folded(merge, stream))
    assert torch.equal(stream, before)
    stay = torch.arange(len(stream)) % 3 != 1
    assert torch.equal(merge.apply(stream, stay), found[stay])
    elsewhere = _scattered(stream, merge.source, merge.target, merge.weight)  # what a GPU runs
    assert elsewhere.dtype == dtype
    assert torch.equal(elsewhere, found)


def test_a_merge_follows_its_stream_to_another_device():
    edge = torch.tensor([0, 1])
    merge = Merge(torch.zeros(1, 3).bool(), edge, edge, torch.ones(2))
    stream = torch.zeros(3, 2, device="meta")
    assert (merge.apply(stream).device.type, merge.apply(stream).shape) == ("meta", (3, 2))
    assert merge.apply(stream, torch.tensor([True, False, True])).shape == (2, 2)


def test_sums_are_made_in_float32():
    merge = Merge(torch.zeros(1, 9).bool(), torch.arange(9), torch.zeros(9).long(), torch.ones(9).bfloat16())
    stream = torch.tensor([256.0, *[1.0] * 8]).bfloat16()[:, None]
    assert merge.apply(stream)[0] == 264  # one after the other in bfloat16 they would stay at 256


@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
def test_an_edge_of_weight_zero_does_nothing(odd):
    merge = Merge(torch.zeros(1, 3).bool(), torch.tensor([0, 1, 0]), torch.tensor([2, 2, 1]), torch.tensor([0.0, 1, 0]))
    assert merge.apply(torch.tensor([[odd], [5.0], [7]]))[1:].tolist() == [[5], [5]]


def test_gradients_flow_to_every_source():
    merge = Merge(torch.zeros(1, 3).bool(), torch.tensor([0, 1]), torch.tensor([2, 2]), torch.tensor([0.25, 0.75]))
    stream = torch.ones(3, 2, requires_grad=True)
    merge.apply(stream)[2].sum().backward()
    assert stream.grad.tolist() == [[0.25] * 2, [0.75] * 2, [0, 0]]


def test_a_merge_may_be_applied_without_gradients_first_and_to_other_streams():
    merge = Merge(torch.zeros(1, 3).bool(), torch.tensor([0, 1]), torch.tensor([2, 2]), torch.tensor([0.25, 0.75]))
    with torch.inference_mode():
        assert merge.apply(torch.ones(3, 2)).tolist() == [[1, 1]] * 3
        assert merge.apply(torch.tensor([[4.0], [8], [0]]), torch.tensor([False, False, True])).tolist() == [[7]]
    stream = torch.ones(3, 2, requires_grad=True)
    merge.apply(stream)[2].sum().backward()
    assert stream.grad.tolist() == [[0.25] * 2, [0.75] * 2, [0, 0]]


@settings(deadline=None, max_examples=100)
@given(merges(), st.data())
def test_the_same_merge_elsewhere(merge, data):
    """Tokens lie in another order, between rows that are no tokens, and some lie nowhere."""
    count = merge.carriers.numel()
    places = torch.tensor(data.draw(st.permutations(range(count + 3))))[:count]
    gone = torch.tensor([data.draw(st.booleans()) for _ in range(count)])
    stream = whole((count + 3, 2)).float()
    moved = merge.at(places.masked_fill(gone, -1))
    assert moved.carriers is merge.carriers
    found = moved.apply(stream)
    use = ~gone[merge.source] & ~gone[merge.target]
    left = Merge(merge.carriers, *(places[part[use]] for part in (merge.source, merge.target)), merge.weight[use])
    assert torch.equal(found.double(), folded(left, stream))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(1, 4), st.data())
def test_a_merge_of_pooled_rows_goes_back_to_the_rows_they_came_from(group, count, data):
    tokens = VisualTokens(whole((len(group), count, 2)).float(), group=torch.tensor(group))
    units = [rows for rows, _ in Budget.parse("50%").units(tokens)]
    pool = Pool.of(tokens, units)
    long = pool.tokens(tokens, units).features  # [G, M, C]
    real = pool.filled.flatten().nonzero()[:, 0].tolist()
    edges = data.draw(st.lists(st.tuples(st.sampled_from(real), st.sampled_from(real)), max_size=8))
    source, target = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    carriers = pool.filled & (whole(pool.filled.shape, 1) > 0)
    merge = Merge(carriers, source, target, torch.full((len(edges),), 0.5))
    none = torch.zeros_like(pool.filled)
    back = pool.spread(Selection(none, none, carriers, merge))
    assert torch.equal(back.merged, back.merge.carriers)
    assert torch.equal(pool.gather(back.merged)[pool.filled], carriers[pool.filled])
    rows = back.merge.apply(tokens.features.flatten(0, 1)).view_as(tokens.features)
    assert torch.equal(pool.gather(rows)[pool.filled], merge.apply(long.flatten(0, 1)).view_as(long)[pool.filled])


def test_carriers_are_those_of_the_merge():
    carriers = torch.tensor([[False, True, False]])
    none = torch.zeros_like(carriers)
    nothing = torch.zeros(0, dtype=torch.int64)
    selection = Selection(carriers.roll(1, 1), none, merge=Merge(carriers, nothing, nothing, torch.zeros(0)))
    assert selection.merged is carriers
    assert selection.mask.tolist() == [[False, True, True]]
    assert not Selection(none, none).merged.any()


def test_splits_without_a_part():
    split = Split(*torch.tensor([[1, 2], [3, 4], [5, 6]]))
    assert split.total.tolist() == [9, 12]
    plain = split.without_merged()
    assert (plain.important.tolist(), plain.diverse.tolist(), plain.merged.tolist()) == ([1, 2], [8, 10], [0, 0])
    some = split.without_merged(torch.tensor([True, False]))
    assert (some.diverse.tolist(), some.merged.tolist()) == ([8, 4], [0, 6])
    scored = split.without_diverse()
    assert (scored.important.tolist(), scored.diverse.tolist(), scored.merged.tolist()) == ([4, 6], [0, 0], [5, 6])


def test_a_row_that_drops_nothing_has_no_carriers_whatever_its_company():
    features = torch.eye(4).expand(2, 4, 4)
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    pipeline = load({"name": "p", "splitter": {"use": "equal", "merged": 1.0}, "merger": "nearest", "budget": 2})
    both = pipeline.select(VisualTokens(features, valid=valid))
    assert both.merged.sum(1).tolist() == [2, 0]
    assert both.important.sum(1).tolist() == [0, 2]
    alone = pipeline.select(VisualTokens(features[1:], valid=valid[1:]))
    assert torch.equal(alone.important, both.important[1:])
