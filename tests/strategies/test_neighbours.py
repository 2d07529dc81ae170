"""Neighbours: the cells around what is kept, then by score."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.problems import free, marks

from tokenprune import Split, VisualTokens, load, ranks
from tokenprune.testing import splits, visual_tokens
from tokenprune.tokens import top
from tokenprune_strategies import adjacent
from tokenprune_strategies.neighbours import Neighbours


def plain(tokens, scores, other, kept, split):
    """[B, N] bool, row by row, from the places alone."""
    chosen = []
    for nth, count in enumerate(split.diverse.tolist()):
        left, beside = free(tokens, kept, nth), []
        if tokens.place is not None:
            held = {tuple(tokens.place[nth, token].tolist()) for token in kept[nth].nonzero()[:, 0].tolist()}
            for token in left:
                y, x = tokens.place[nth, token].tolist()
                if held & {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)}:
                    beside.append(token)
        beside.sort(key=lambda token: -scores[nth, token])
        others = sorted((token for token in left if token not in beside), key=lambda token: -other[nth, token])
        chosen.append(marks((beside + others)[:count], tokens.shape[1]))
    return torch.stack(chosen)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_takes_as_the_plain_loop(data):
    tokens = data.draw(visual_tokens(("normal",), ("received_attention",)))
    split = data.draw(splits(tokens))
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    scores = torch.randint(0, 5, tokens.shape, generator=g).float()
    kept = top(torch.rand(tokens.shape, generator=g), split.important, tokens.valid)
    few = data.draw(st.sampled_from((0, adjacent._FEW)))  # how many are compared with every token, not looked up
    near = data.draw(st.sampled_from(((), ranks.AT_HAND)))  # devices whose values may be looked at
    with mock.patch.object(adjacent, "_FEW", few), mock.patch.object(ranks, "AT_HAND", near):
        found = Neighbours().choose(tokens, scores, kept, split)
    assert torch.equal(found, plain(tokens, scores, scores, kept, split))
    other = tokens.cue("received_attention").float()
    other = other if other.ndim == 2 else other.mean(1)
    filled = Neighbours(fill="attention_received")
    assert filled.reads == {"received_attention"}
    assert torch.equal(filled.choose(tokens, scores, kept, split), plain(tokens, scores, other, kept, split))


@pytest.fixture(params=[0, adjacent._FEW])
def few(request, monkeypatch):
    """Anchors are looked up in a map, or compared with every token."""
    monkeypatch.setattr(adjacent, "_FEW", request.param)


def test_nothing_wraps_around_the_border(few):
    """On a 3 x 4 map the ends of two lines follow each other in order, and are no neighbours."""
    tokens = VisualTokens.on_grid(torch.zeros(1, 12, 2), (3, 4))
    scores, kept = torch.zeros(1, 12), marks([3, 8], 12)[None]
    chosen = Neighbours().choose(tokens, scores, kept, Split(torch.tensor([2]), torch.tensor([4])))
    assert chosen.nonzero()[:, 1].tolist() == [2, 4, 7, 9]


def test_rows_of_one_map_have_room_for_all_of_it(few):
    """Three rows of four tokens are the three lines of a map."""
    line, column = torch.arange(3)[:, None].expand(3, 4), torch.arange(4).expand(3, 4)
    canvas, group = torch.tensor([[3, 4]]).expand(3, 2), torch.zeros(3, dtype=torch.int64)
    tokens = VisualTokens(torch.zeros(3, 4, 1), place=torch.stack([line, column], -1), canvas=canvas, group=group)
    marked = torch.stack([marks([0], 4), marks([], 4), marks([3], 4)])
    assert adjacent.adjacent(tokens, marked, 1).nonzero().tolist() == [[0, 1], [2, 2]]


def test_beside_what_lies_beyond_the_map_lies_nothing(monkeypatch):
    monkeypatch.setattr(adjacent, "_FEW", 0)
    beyond = [(0, 6), (-3, 0), (9, 0), (0, -5)]
    places = [*beyond, (10, 0), *((cell // 3 % 2, cell % 3) for cell in range(35))]
    tokens = VisualTokens(torch.zeros(1, 40, 1), place=torch.tensor([places]), canvas=torch.tensor([[2, 3]]))
    assert not adjacent.adjacent(tokens, marks([0, 1, 2, 3], 40)[None], 4).any()


def test_a_map_of_one_column_has_room_for_its_last_cell(few):
    tokens = VisualTokens.on_grid(torch.zeros(1, 12, 1), (12, 1))
    assert adjacent.adjacent(tokens, marks([10], 12)[None], 1).nonzero()[:, 1].tolist() == [9, 11]


def test_no_rows_have_no_neighbours(few):
    none = torch.zeros(0, 4)
    split = Split(*torch.zeros(2, 0, dtype=torch.int64))
    assert Neighbours().reads == frozenset()
    assert Neighbours().choose(VisualTokens(none[..., None]), none, none.bool(), split).shape == (0, 4)
    assert adjacent.adjacent(VisualTokens.on_grid(none[..., None], (2, 2)), none.bool(), 1).shape == (0, 4)


def test_without_a_map_there_are_no_neighbours():
    places, canvas = torch.tensor([[[0, 0], [0, 1], [0, 2], [0, 3]]]), torch.tensor([[1, 4]])
    for half in ({"place": places}, {"canvas": canvas}):
        assert not adjacent.adjacent(VisualTokens(torch.zeros(1, 4, 1), **half), marks([0], 4)[None], 1).any()


def test_hiprune_keeps_anchors_their_neighbours_and_registers():
    early, late = torch.zeros(1, 100), torch.zeros(1, 100)
    early[0, 55], late[0, 7], late[0, 3] = 1, 2, 1
    found = load("hiprune", budget=7).replace(splitter={"use": "equal", "important": 0.15})
    cues = {name: early if "@" in name else late for name in found.reads}
    selection = found.select(VisualTokens.on_grid(torch.zeros(1, 100, 2), (10, 10), cues=cues))
    assert selection.important.nonzero()[:, 1].tolist() == [55]
    assert selection.diverse.nonzero()[:, 1].tolist() == [3, 7, 45, 54, 56, 65]
