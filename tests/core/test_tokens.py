import dataclasses
import math
import re
from functools import cmp_to_key

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenprune import Selection, Split, VisualTokens, ranks
from tokenprune.errors import MissingCue
from tokenprune.ranks import _MANY, ascending, grouped, leading, ranking, top
from tokenprune.testing import visual_tokens
from tokenprune.tokens import unit_vectors

X = torch.arange(24.0).reshape(2, 6, 2)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"features": torch.zeros(6, 2)}, "features are [B, N, C]; got (6, 2). Add the row axis with x[None]."),
        ({"features": torch.zeros(1, 2, 6, 2)}, "features are [B, N, C]; got (1, 2, 6, 2)"),
        ({"valid": torch.ones(6, dtype=torch.bool)}, "valid is (6,); with features (2, 6, 2) it must be (2, 6)"),
        ({"valid": torch.ones(2, 6)}, "valid is torch.float32; it must be torch.bool"),
        ({"valid": torch.ones(2, 6, dtype=torch.int64)}, "valid is torch.int64; it must be torch.bool"),
        ({"place": torch.zeros(2, 6, 3)}, "place is (2, 6, 3); with features (2, 6, 2) it must be (2, 6, 2)"),
        ({"canvas": torch.zeros(2)}, "canvas is (2,); with features (2, 6, 2) it must be (2, 2)"),
        ({"group": torch.zeros(3)}, "group is (3,); with features (2, 6, 2) it must be (2,)"),
        ({"sample": torch.zeros(2, 1)}, "sample is (2, 1); with features (2, 6, 2) it must be (2,)"),
        ({"overview": torch.zeros(1, dtype=torch.bool)}, "overview is (1,); with features (2, 6, 2) it must be (2,)"),
        ({"overview": torch.zeros(2)}, "overview is torch.float32; it must be torch.bool"),
        ({"marked": torch.zeros(2)}, "marked is torch.float32; it must be torch.bool"),
    ],
)
def test_shapes_that_do_not_fit_are_told(given_, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        VisualTokens(**{"features": X, **given_})


def test_each_row_is_its_own_image_and_each_image_its_own_prompt():
    tokens = VisualTokens(X)
    assert tokens.group.tolist() == tokens.sample.tolist() == [0, 1]
    assert VisualTokens(X, group=torch.tensor([7, 7])).sample.tolist() == [7, 7]
    assert VisualTokens(X, group=torch.tensor([7, 8]), sample=torch.tensor([3, 3])).sample.tolist() == [3, 3]


def test_no_rows_and_no_tokens_are_legal():
    assert VisualTokens(torch.zeros(0, 6, 2)).counts.tolist() == []
    assert VisualTokens(torch.zeros(2, 0, 2)).counts.tolist() == [0, 0]


def test_a_grid_is_in_reading_order():
    tokens = VisualTokens.on_grid(X, (2, 3))
    assert tokens.place.tolist() == [[[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]] * 2
    assert tokens.canvas.tolist() == [[2, 3]] * 2
    assert tokens.grid == (2, 3)
    assert VisualTokens.on_grid(X, (1, 6), extra=torch.ones(1, 2)).extra.tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="a grid of 2 x 4 holds 8 tokens; features have 6 a row"):
        VisualTokens.on_grid(X, (2, 4))


def test_a_grid_is_where_its_features_are():
    tokens = VisualTokens.on_grid(torch.zeros(1, 6, 2, device="meta"), (2, 3))
    assert {tokens.place.device.type, tokens.canvas.device.type} == {"meta"}
    assert VisualTokens.on_grid(X[:1], (2, 3)).grid == (2, 3)  # of one row too


def test_what_is_no_full_rectangle_has_no_grid():
    tokens = VisualTokens.on_grid(X, (2, 3))
    swapped = tokens.place.clone()
    swapped[1, [0, 1]] = swapped[1, [1, 0]]
    changes = (
        {"place": None},
        {"canvas": None},
        {"place": swapped},
        {"place": tokens.place + 1},
        {"canvas": torch.tensor([[2, 3], [3, 2]])},
        {"canvas": torch.tensor([[4, 3], [4, 3]])},
        {"valid": torch.tensor([[True] * 6, [True] * 5 + [False]])},
    )
    assert [dataclasses.replace(tokens, **change).grid for change in changes] == [None] * len(changes)
    assert VisualTokens(torch.zeros(0, 6, 2)).grid is None


def test_the_grid_does_not_ask_for_a_dtype():
    tokens = VisualTokens.on_grid(X, (3, 2), valid=torch.ones(2, 6, dtype=torch.bool))
    narrow = dataclasses.replace(tokens, place=tokens.place.int(), canvas=tokens.canvas.int())
    assert narrow.grid == (3, 2)


@given(visual_tokens())
def test_counts_are_the_valid_tokens(tokens):
    batch, count = tokens.shape
    expected = [count] * batch if tokens.valid is None else [sum(row) for row in tokens.valid.tolist()]
    assert tokens.counts.tolist() == expected
    assert tokens.counts.dtype == torch.int64
    assert tokens.counts is tokens.counts  # read once


@given(visual_tokens())
def test_unit_vectors_have_norm_one_or_zero(tokens):
    unit, x = tokens.unit, tokens.features.float()
    assert tokens.unit is unit  # computed once
    assert (unit.dtype, unit.shape) == (torch.float32, x.shape)
    norm = unit.norm(dim=-1)
    assert (((norm - 1).abs() < 1e-5) | (norm == 0)).all()
    assert (norm > 0)[(x.abs().amax(-1) > 1e-6) & (x.abs().amax(-1) < 1e6)].all()
    nothing = (x == 0).all(-1) | ~x.isfinite().all(-1)
    assert (unit[nothing] == 0).all()


def test_unit_vectors_of_some_rows_are_remembered_only_if_that_is_all():
    whole = VisualTokens(X).unit
    tokens, some = VisualTokens(X), slice(1, 2)
    assert torch.equal(tokens.unit_of(some), whole[some])
    assert "unit" not in tokens._memo
    assert tokens.unit_of(slice(None)).data_ptr() == tokens.unit.data_ptr()
    assert tokens.unit_of(some).data_ptr() == tokens.unit[some].data_ptr()


def test_a_cue_is_asked_for_once_and_only_when_it_is_read():
    asked = []
    cues = {
        "a": lambda: asked.append("a") or torch.ones(2, 6),
        "b@9": torch.zeros(2, 6),
        "c": lambda: asked.append("c"),
    }
    tokens = VisualTokens(X, cues)
    assert (asked, tokens.cues_read) == ([], ())
    assert tokens.cue("a") is tokens.cue("a")
    assert tokens.cue("b@9").sum() == 0
    assert (asked, tokens.cues_read) == (["a"], ("a", "b@9"))
    _ = tokens.counts, tokens.unit
    assert tokens.cues_read == ("a", "b@9")
    assert dataclasses.replace(tokens).cues_read == ()


def test_of_alternatives_the_first_that_is_there_is_read():
    a, b = torch.zeros(2, 6), torch.ones(2, 6)
    assert VisualTokens(X, {"b": b, "a": a}).cue("a|b") is a
    assert VisualTokens(X, {"b": b}).cue("a|b") is b
    assert VisualTokens(X, {"b": b, "a": a}).cue("nothing|b|a") is b


@pytest.mark.parametrize(
    ("cues", "name", "said"),
    [
        ({}, "cls_attention", "no cue 'cls_attention' here; there is: none"),
        ({"z": X, "k": X}, "a|b@3", "no cue 'a or b@3' here; there is: k, z"),
    ],
)
def test_a_missing_cue_says_what_there_is(cues, name, said):
    with pytest.raises(MissingCue, match=re.escape(said)):
        VisualTokens(X, cues).cue(name)


@pytest.mark.parametrize("value", [VisualTokens(X), Split(X, X), Selection(X, X)])
def test_values_are_frozen(value):
    for name in (field.name for field in dataclasses.fields(value)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)


def test_a_selection_knows_its_mask_counts_and_indices():
    important = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0]]).bool()
    diverse = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0]]).bool()
    selection = Selection(important, diverse)
    assert selection.mask.int().tolist() == [[1, 0, 1, 1], [0, 0, 0, 0]]
    assert selection.counts.tolist() == [3, 0]
    assert [row.tolist() for row in selection.indices()] == [[0, 2, 3], []]
    assert {row.dtype for row in selection.indices()} == {torch.int64}
    assert Split(torch.tensor([2, 0]), torch.tensor([1, 0])).total.tolist() == [3, 0]


# --- top -------------------------------------------------------------------------------------------------------------


def compare(one, other):
    """Larger first; NaN is larger than everything; of equals the lower index."""
    (i, x), (j, y) = one, other
    if math.isnan(x) or math.isnan(y):
        return (math.isnan(y) - math.isnan(x)) or i - j
    return (y > x) - (y < x) or i - j


def reference(scores, counts, among):
    masks = []
    for row, count, legal in zip(scores, counts, among, strict=True):
        pairs = sorted(((i, x) for i, x in enumerate(row) if legal[i]), key=cmp_to_key(compare))
        masks.append([i in {j for j, _ in pairs[:count]} for i in range(len(row))])
    return masks


NUMBERS = st.one_of(
    st.sampled_from((0.0, -0.0, 1.0, 2.0, math.nan, math.inf, -math.inf)), st.floats(-1e9, 1e9, width=32)
)


@st.composite
def choices(draw):
    count, batch = draw(st.integers(1, 8)), draw(st.integers(0, 4))
    rows = st.lists(NUMBERS, min_size=count, max_size=count)
    scores = draw(st.lists(rows, min_size=batch, max_size=batch))
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    among = draw(st.lists(st.one_of(st.just([True] * count), flags), min_size=batch, max_size=batch))
    if draw(st.booleans()):  # the same count in every row takes another path
        same = draw(st.integers(0, min((sum(row) for row in among), default=0)))
        return count, scores, [same] * batch, among
    return count, scores, [draw(st.integers(0, sum(row))) for row in among], among


@given(choices(), st.booleans())
def test_top_is_a_stable_sort(case, name_all):
    width, scores, counts, among = case
    everything = all(map(all, among))
    given_ = None if everything and not name_all else torch.tensor(among, dtype=torch.bool).reshape(-1, width)
    got = top(torch.tensor(scores).reshape(-1, width), torch.tensor(counts, dtype=torch.int64), given_)
    assert got.dtype == torch.bool
    assert got.tolist() == reference(scores, counts, among)


def test_ties_go_to_the_lower_index_in_long_rows():
    scores = (torch.arange(5000) * 7919 % 3).float()[None]  # long enough for a sort that is not stable to show
    among = (torch.arange(5000) % 2 == 0)[None]
    everywhere = torch.ones_like(among)
    for legal in (everywhere, among):
        got = top(scores, torch.tensor([1000]), legal)
        assert got.tolist() == reference(scores.tolist(), [1000], legal.tolist())


@pytest.mark.parametrize("width", [6, _MANY])
@pytest.mark.parametrize("counts", [[2, 2], [0, 3]])
def test_top_is_where_its_scores_are(counts, width):
    scores = torch.zeros(2, width, device="meta")
    assert top(scores, torch.tensor(counts)).device.type == "meta"


def test_minus_infinity_is_a_score_and_not_a_mask():
    scores = torch.tensor([[-math.inf, 3.0, -math.inf]])
    among = torch.tensor([[True, False, True]])
    assert top(scores, torch.tensor([1]), among).tolist() == [[True, False, False]]


@pytest.mark.parametrize("count", [0, 5, 400])
@pytest.mark.parametrize("among", [None, 1, 2])
def test_leading_is_the_beginning_of_the_ranking(count, among):
    g = torch.Generator().manual_seed(0)
    scores = torch.randint(-9, 9, (16, 300), generator=g) / 2**40
    odd = torch.tensor([torch.inf, -torch.inf, torch.nan, -torch.nan, -0.0])
    scores[:, ::7] = odd[torch.randint(0, 5, (16, 43), generator=g)]
    classes = None if among is None else torch.randint(0, among + 1, scores.shape, generator=g)
    assert scores.numel() > _MANY
    wanted = ranking(scores, classes)[:, :count]
    assert torch.equal(leading(scores, count, classes), wanted)
    assert torch.equal(leading(scores.double(), count, classes), wanted)
    if among is None:
        deep = scores.view(4, 4, 300)
        assert torch.equal(leading(deep, count).flatten(0, 1), wanted)
        assert torch.equal(leading(deep.double(), count).flatten(0, 1), wanted)


@pytest.mark.parametrize("shape", [(2, 1100, 2), (1100, 2)])
def test_leading_of_more_rows_than_tokens_may_be_all_of_them(shape):
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(leading(scores, 2), ranking(scores))
    assert torch.equal(leading(scores, 1), ranking(scores)[..., :1])


@pytest.mark.parametrize("kind", ["distinct", "some tied", "some not a number", "mostly infinite"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("far", [False, True])
def test_what_is_picked_without_a_sort_is_the_same(kind, named, far, monkeypatch):
    if far:
        monkeypatch.setattr(ranks, "AT_HAND", ())
    g = torch.Generator().manual_seed(1)
    scores = torch.randperm(16 * 300, generator=g).view(16, 300).float()
    if kind == "some tied":
        scores[::2] = (scores[::2] / 400).round()
    if kind == "some not a number":
        scores[3:9, ::5] = torch.nan
    if kind == "mostly infinite":
        scores[:, 40:] = -torch.inf
    among = torch.rand(16, 300, generator=g) < 0.8 if named else None
    for counts in (torch.full((16,), 61), torch.arange(16) * 4, torch.arange(16) % 2):
        order, rank = ranking(scores, among), torch.arange(300)
        assert torch.equal(order, ranking(scores.double(), among))
        wanted = torch.zeros(16, 300, dtype=torch.bool).scatter_(1, order, rank < counts[:, None])
        assert torch.equal(top(scores, counts, among), wanted)
        assert torch.equal(leading(scores, int(counts.max()), among), order[:, : int(counts.max())])
        alike = leading(scores, int(counts.max()), among, in_order=False).sort(dim=1).values
        assert torch.equal(alike, order[:, : int(counts.max())].sort(dim=1).values)


def test_scores_that_are_learned_are_ranked():
    scores = torch.rand(8, 300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ranking(scores.clone().requires_grad_() * 1), ranking(scores))


@pytest.mark.parametrize("far", [False, True])
def test_whole_numbers_ascend_to_the_largest_that_there_are(far, monkeypatch):
    if far:
        monkeypatch.setattr(ranks, "AT_HAND", ())
    rows = [[2**63 - 1, -(2**63), 0, 2**62 + 1, 2**62], [5, 4, 3, 2, 1]]
    assert ascending(torch.tensor([rows])).tolist() == [[sorted(row) for row in rows]]


@pytest.mark.parametrize("odd", [None, torch.nan, torch.inf, 3e38])
def test_unit_vectors_of_what_has_no_direction_are_zero(odd):
    """One that is zero, one too short for its square; beside one that is not finite, or none."""
    x = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    x[0, 1], x[1, 2], x[1, 3] = 0, torch.tensor([1e-30, -1e-30, 0, 0, 0]), -0.0
    none = torch.tensor([[False, True] + 5 * [False], [False, False, True, True, False, False, False]])
    if odd is not None:
        x[1, 5], none[1, 5] = odd, True  # the square of the last is not finite
    long = x.double() / x.double().norm(dim=-1, keepdim=True)
    unit = unit_vectors(x)
    assert (unit == 0).all(-1).equal(none)
    torch.testing.assert_close(unit.double()[~none], long[~none])
    torch.testing.assert_close(unit_vectors(x.mT, dim=1).mT, unit)
    assert unit_vectors(x.bfloat16()).dtype == torch.float32


def test_labels_are_grouped_where_they_are_and_ties_stay_in_order():
    labels = torch.tensor([[2**32, 3, 2**32, 0, 3], [1, 1, 0, 0, 1]])
    ordered, places = grouped(labels)
    assert torch.equal(ordered, labels.sort(dim=1, stable=True).values)
    assert torch.equal(places, labels.sort(dim=1, stable=True).indices)
    assert {one.device.type for one in grouped(labels.to("meta"))} == {"meta"}
