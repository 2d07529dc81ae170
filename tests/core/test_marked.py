"""Frames between markers of their own are not left empty while the budget holds a token for each."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune import Budget, Merger, Scorer, Selection, VisualTokens, load
from tokenprune.marked import filled
from tokenprune.selection import Merge
from tokenprune.testing import visual_tokens


class Sum(Scorer):
    def score(self, tokens):
        return tokens.features.float().sum(-1)


class Last(Merger):
    """The last tokens that nobody chose are carriers, and each becomes the best of its row."""

    def merge(self, tokens, scores, selection, split):
        left = ~selection.mask if tokens.valid is None else tokens.valid & ~selection.mask
        number = left.flip(1).cumsum(1).flip(1)
        carriers = left & (number <= split.merged.to(left.device)[:, None])
        row, column = carriers.nonzero().unbind(-1)
        best = scores.masked_fill(~selection.mask, -torch.inf).argmax(1)
        count = carriers.shape[1]
        return Merge(carriers, row * count + best[row], row * count + column, torch.ones(len(row)))


POOLED = load({"name": "p", "scorer": Sum(), "splitter": "global_pool", "budget": 4})


def video(values, marked=True, **rest):
    """Frames of one video whose tokens score what is given."""
    features = torch.tensor(values, dtype=torch.float32)[..., None]
    flags = torch.as_tensor(marked).expand(len(values))
    return VisualTokens(features, group=torch.zeros(len(values), dtype=torch.int64), **{"marked": flags, **rest})


SCENE = [[9, 8, 7, 6], [1, 2, 3, 0], [5, 4, 0, 0]]


def test_an_empty_frame_gets_its_best_token_for_the_worst_of_the_fullest():
    assert POOLED.select(video(SCENE, marked=False)).mask.int().tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert POOLED.select(video(SCENE)).mask.int().tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_a_budget_below_one_token_a_frame_is_left_as_it_was_divided():
    few = POOLED.replace(budget=2)
    assert few.select(video(SCENE)).mask.int().tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    spread = few.replace(splitter="equal")
    assert spread.select(video(SCENE)).mask.int().tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_a_unit_that_keeps_nothing_is_left_empty():
    assert not POOLED.replace(budget="0%").select(video(SCENE)).mask.any()


def test_an_unmarked_row_may_give_its_last():
    tokens = video(SCENE, marked=torch.tensor([False, True, True]))
    got = POOLED.replace(budget=2).select(tokens)
    assert got.mask.int().tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_a_frame_without_tokens_needs_none():
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[1] = False
    got = POOLED.replace(budget=2).select(video(SCENE, valid=valid))
    assert got.mask.int().tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_what_fills_a_frame_is_important_and_what_stays_keeps_its_reason():
    tokens = video(SCENE)
    none = torch.zeros(3, 4, dtype=torch.bool)
    important, diverse = none.clone(), none.clone()
    important[0, 0], diverse[0, 1:] = True, True
    got = filled(tokens, Selection(important, diverse), [[0, 1, 2]], Sum().score)
    assert got.important.int().tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    assert got.diverse.int().tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_scores_are_asked_for_only_if_a_frame_is_empty():
    full = torch.ones(3, 4, dtype=torch.bool)
    selection = Selection(full, ~full)
    assert filled(video(SCENE), selection, [[0, 1, 2]], lambda tokens: 1 / 0) is selection


def test_frames_are_filled_before_anything_is_folded():
    merging = POOLED.replace(merger=Last(), splitter={"use": "global_pool", "merged": 0.25})
    got = merging.select(video(SCENE))
    assert got.important.int().tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    assert got.merged.int().tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert (got.merge.source.tolist(), got.merge.target.tolist()) == ([0], [11])
    apart = merging.replace(budget="2 per row", splitter={"use": "equal", "merged": 0.5})
    assert apart.select(video(SCENE)).counts.tolist() == [2, 2, 2]


@settings(max_examples=60, deadline=None)
@given(visual_tokens(), st.integers(0, 31), st.sampled_from(["3", "40%", "2 per row", "5 per prompt"]))
def test_every_total_is_kept_and_no_frame_is_empty_that_need_not_be(tokens, flags, text):
    budget = Budget.parse(text if "%" in text or "per" in text else int(text))
    marked = torch.tensor([bool(flags >> row & 1) for row in range(tokens.shape[0])])
    selection = POOLED.replace(budget=budget).select(replace(tokens, marked=marked))
    counts, valid = selection.counts, torch.ones(tokens.shape).bool() if tokens.valid is None else tokens.valid
    assert not (selection.mask & ~valid).any()
    assert not (selection.important & selection.diverse).any()
    for rows, total in budget.units(tokens):
        assert counts[rows].sum() == total
        needed = [row for row in rows if marked[row] and tokens.counts[row]]
        if total >= len(needed):
            assert (counts[needed] > 0).all()
