"""Pivots: each takes the tokens least like it; what the plain loop takes, in any batch."""

from dataclasses import replace

import pytest
import torch
from golden.plain import unit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.problems import exact, free, marks, problems

from tokenprune import Split, VisualTokens
from tokenprune.errors import PipelineError
from tokenprune_strategies.pivots import Pivots
from tokenprune_strategies.rounds import rounds, words


def even(left, each, nth):
    return left // each + (nth < left % each)


def spoken(tokens, nth, words):
    """Words of a prompt by the length of their keys, as unit vectors; at most ``words``."""
    if not words:
        return []
    states, keys = tokens.cue("text_states")[nth], tokens.cue("text_keys@previous")[nth].abs().sum(1)
    real = [word for word in range(len(states)) if states[word].any()]
    return list(unit_of(states)[sorted(real, key=lambda word: -keys[word])[:words]])


def plain(problem, pivots, words=0, order=sorted, shares=even):
    """[B, N] bool, row by row in float64."""
    tokens, scores, kept, split = problem
    chosen = []
    for nth, count in enumerate(split.diverse.tolist()):
        there = range(tokens.shape[1]) if tokens.valid is None else tokens.valid[nth].nonzero()[:, 0].tolist()
        best = sorted(there, key=lambda token: -scores[nth, token])[:pivots]
        left = free(tokens, kept, nth)
        picks = [token for token in best if token in left][:count]
        rest, unit = count - len(picks), unit_of(tokens.features[nth])
        around = [*(unit[pivot] for pivot in best), *spoken(tokens, nth, words)]
        for number, pivot in enumerate(around):
            like = unit @ pivot
            open_ = order((token for token in left if token not in picks), key=lambda token: like[token])
            picks += open_[: shares(rest, len(around), number)]
        chosen.append(marks(picks, tokens.shape[1]))
    return torch.stack(chosen)


@settings(deadline=None, max_examples=150)
@given(problems(), st.integers(1, 9))
def test_takes_as_the_plain_loop(problem, pivots):
    assert torch.equal(Pivots(pivots=pivots).choose(*problem), plain(problem, pivots))


def test_a_mistake_is_noticed():
    rest = torch.rand(1, 60, generator=torch.Generator().manual_seed(0)), marks([], 60)[None]
    problem = VisualTokens(exact((1, 60, 8))), *rest, Split(torch.tensor([0]), torch.tensor([21]))
    found = Pivots(pivots=4).choose(*problem)
    assert torch.equal(found, plain(problem, 4))
    assert not torch.equal(found, plain(problem, 3))
    assert not torch.equal(found, plain(problem, 4, order=lambda some, key: sorted(some, key=key)[::-1]))
    assert not torch.equal(found, plain(problem, 4, shares=lambda left, each, nth: left // each + (nth >= each - 1)))


def test_pivots_that_are_kept_are_not_chosen_again():
    x = torch.tensor([[[1.0, 0], [0, 1], [0.9, 0.1], [-1, 0], [0, -1]]])
    scores, kept = torch.tensor([[9.0, 8, 1, 0, 0]]), marks([0], 5)[None]
    chosen = Pivots(pivots=2).choose(VisualTokens(x), scores, kept, Split(torch.tensor([1]), torch.tensor([3])))
    assert chosen.nonzero()[:, 1].tolist() == [1, 3, 4]


def asked(problem, seed, words):
    """The problem with a question; some prompts have fewer words than the longest, or none."""
    tokens, *rest = problem
    g = torch.Generator().manual_seed(seed)
    spoken = torch.arange(words) < torch.randint(0, words + 1, (len(tokens.group), 1), generator=g)
    states = exact((len(tokens.group), words, tokens.features.shape[2]), seed) * spoken[..., None]
    keys = torch.randint(-9, 10, (*states.shape[:2], 3), generator=g).float()
    keys = keys + torch.linspace(0, 0.5, words)[:, None]  # no two of the same length
    return replace(tokens, cues={"text_states": states, "text_keys@previous": keys}), *rest


@settings(deadline=None, max_examples=80)
@given(problems(), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**16))
def test_words_take_after_the_tokens_of_the_image(problem, pivots, words, seed):
    problem = asked(problem, seed, 4)
    assert torch.equal(Pivots(pivots=pivots, words=words).choose(*problem), plain(problem, pivots, words))


def test_words_change_what_is_chosen():
    problem = VisualTokens(exact((2, 60, 8))), torch.rand(2, 60), torch.zeros(2, 60).bool()
    problem = asked((*problem, Split(torch.tensor([0, 0]), torch.tensor([21, 30]))), 3, 4)
    chosen = Pivots(pivots=4, words=4).choose(*problem)
    assert not torch.equal(chosen, Pivots(pivots=4).choose(*problem))
    assert Pivots(words=4, layer="this").reads == {"text_keys@this", "text_states"}
    assert Pivots().reads == set()


def test_as_released_a_share_that_does_not_divide_is_lost_and_pivots_come_on_top():
    problem = VisualTokens(exact((1, 60, 8))), torch.rand(1, 60), marks([], 60)[None]
    for count, each in ((21, 5), (24, 6), (3, 0)):
        split = Split(torch.tensor([0]), torch.tensor([count]))
        released = Pivots(pivots=4, as_released=True).choose(*problem, split)
        assert int(released.sum()) == min(4, count) + 4 * each
        assert int(Pivots(pivots=4).choose(*problem, split).sum()) == count


WIDTHS = "^words are 8 wide and tokens 4, which do not compare; take words as pivots inside the language model$"


def test_words_of_another_width_are_refused():
    problem = asked((VisualTokens(exact((1, 6, 8))), torch.rand(1, 6), marks([], 6)[None]), 0, 2)
    tokens = replace(problem[0], features=exact((1, 6, 4)))
    with pytest.raises(PipelineError, match=WIDTHS):
        Pivots(words=1).choose(tokens, *problem[1:], Split(torch.tensor([0]), torch.tensor([3])))


def test_words_go_by_the_sum_of_the_sizes_in_their_keys():
    cues = {"text_states": torch.eye(2)[None], "text_keys@this": torch.tensor([[[3.0, 0], [2, -2]]])}
    none = torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.bool)
    vectors, real = words(VisualTokens(torch.zeros(1, 1, 2), cues), "this", 1, *none)
    assert (vectors.tolist(), real.tolist()) == ([[[0, 1]]], [[True]])


def test_rounds_take_what_does_not_divide_too():
    unit, none = torch.eye(3)[None], torch.zeros(1, 3, dtype=torch.bool)
    assert rounds(unit, unit[:, :2], ~none[:, :2], torch.tensor([[3]]), none).all()
