"""Facility location: each pick covers most of what is not covered yet, weighed by score."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies.plain import complaints
from strategies.problems import exact, fine, marks, problems

from tokenprune import Split, VisualTokens, load
from tokenprune.errors import MissingCue, PipelineError
from tokenprune_strategies import coverage, greedy, reach
from tokenprune_strategies.facility_location import FacilityLocation
from tokenprune_strategies.reach import with_more


def covered(reach, picks):
    """[R] the largest of what the picks reach, zero without any; of [N, R]."""
    return torch.cat([reach.new_zeros(1, reach.shape[1]), reach[picks]]).amax(0)


def weight_of(scores, there, power):
    worth = scores.clamp(min=0)
    return (worth if worth[there].max() > 0 else torch.ones_like(worth)) ** power


def shares(cosines, there, temperature):
    """Softmax of [N, R] over the tokens that are there; 0 for the others."""
    found = torch.zeros_like(cosines)
    found[there] = (cosines[there] / temperature).softmax(0)
    return found


def cover(power=1.0, temperature=None, words=None):
    """Gains for a judge; ``words`` [B, M, C] are covered too, with weight 2 and temperature 0.02."""

    def gains(unit, scores, there, picks, row):
        reach = unit @ unit[there].T  # [N, R]
        reach = reach if temperature is None else shares(reach, there, temperature)
        if words is not None:
            said = words[row].double()
            said = said[said.norm(dim=1) > 0]
            near = shares(unit @ (said / said.norm(dim=1, keepdim=True)).T, there, 0.02)
            reach = torch.cat([reach / len(there), near * 2 / max(1, len(said))], 1)
        more = (reach - covered(reach, picks)).clamp(min=0).sum(1)
        return more * weight_of(scores, there, power)

    return gains


@settings(deadline=None, max_examples=100)
@given(problems(most=40), st.sampled_from((0.0, 1.0, 3.0)), st.sampled_from((None, 0.2)))
def test_each_pick_covers_most(problem, power, temperature):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "_CACHE", 4 * 90)  # a few tokens at a time
        part = FacilityLocation(power=power, temperature=temperature)
        eps = 1e-4 * max(1.0, float(problem[1].amax()) ** power)
        assert complaints(patch, part, problem, cover(power, temperature), eps) == []


@settings(deadline=None, max_examples=50)
@given(problems(most=30), st.integers(1, 5), st.sampled_from((None, 0.2)))
def test_words_are_covered_too(problem, count, temperature):
    tokens, *rest = problem
    g = torch.Generator().manual_seed(count)
    words = torch.randn(len(tokens.features), count, tokens.features.shape[2], generator=g)
    words[:, 1:] *= torch.rand(len(words), count - 1, 1, generator=g) < 0.7  # some are padding
    tokens = VisualTokens(tokens.features, {"question": words.bfloat16()}, valid=tokens.valid)
    part = FacilityLocation(power=0, temperature=temperature, cover="question")
    with pytest.MonkeyPatch.context() as patch:
        gains = cover(0.0, temperature, words.bfloat16().float())
        assert complaints(patch, part, (tokens, *rest), gains, 1e-5) == []


def test_a_wrong_formula_is_noticed(monkeypatch):
    g = torch.Generator().manual_seed(0)
    x, words = torch.randn(1, 40, 16, generator=g), torch.randn(1, 3, 16, generator=g)
    none, split = torch.zeros(1, 40, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([12]))
    problem = VisualTokens(x, {"question": words}), torch.rand(1, 40, generator=g), none, split
    plain, asked = FacilityLocation(), FacilityLocation(power=0, temperature=0.2, cover="question")
    assert complaints(monkeypatch, plain, problem, cover()) == []
    assert complaints(monkeypatch, plain, problem, cover(power=2.0))
    assert complaints(monkeypatch, plain, problem, cover(temperature=0.2))
    assert complaints(monkeypatch, plain, problem, lambda *given: cover()(*given[:3], [], 0))
    assert complaints(monkeypatch, asked, problem, cover(0.0, 0.2, words), 1e-6) == []
    assert complaints(monkeypatch, asked, problem, cover(0.0, 0.2), 1e-6)
    assert complaints(monkeypatch, asked, problem, cover(0.0, 0.2, -words), 1e-6)


def test_what_the_words_say_is_picked_first():
    x = torch.eye(6)[None]
    words = torch.tensor([[[0, 0, 0, 1.0, 0, 0], [0, 0, 0, 0, 0, 0]]])
    rest = torch.zeros(1, 6), torch.zeros(1, 6, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([1]))
    part = FacilityLocation(temperature=0.2, cover="question")
    assert part.reads == {"question"}
    assert part.choose(VisualTokens(x, {"question": words}), *rest).nonzero().tolist() == [[0, 3]]
    with pytest.raises(MissingCue, match="question"):
        part.choose(VisualTokens(x), *rest)


def test_a_cluster_needs_one_and_what_is_kept_covers():
    """Three blobs of 4, 3 and 2 tokens: the largest first; with one kept there, the next."""
    x = torch.eye(3)[[0, 0, 0, 0, 1, 1, 1, 2, 2]][None]
    rest = VisualTokens(x), torch.ones(1, 9)
    none, one = marks([], 9)[None], marks([2], 9)[None]
    first = FacilityLocation().choose(*rest, none, Split(torch.tensor([0]), torch.tensor([2])))
    assert first.nonzero()[:, 1].tolist() == [0, 4]
    next_ = FacilityLocation().choose(*rest, one, Split(torch.tensor([1]), torch.tensor([2])))
    assert next_.nonzero()[:, 1].tolist() == [4, 7]


def test_scores_weigh_and_none_at_all_weigh_alike():
    x = exact((1, 30, 8))
    none, split = marks([], 30)[None], Split(torch.tensor([0]), torch.tensor([8]))
    plain = FacilityLocation(power=0).choose(VisualTokens(x), torch.rand(1, 30), none, split)
    assert torch.equal(FacilityLocation().choose(VisualTokens(x), torch.zeros(1, 30), none, split), plain)
    assert torch.equal(FacilityLocation().choose(VisualTokens(x), -torch.rand(1, 30), none, split), plain)
    heavy = torch.zeros(1, 30).index_fill(1, torch.arange(20, 30), 1.0)
    assert FacilityLocation().choose(VisualTokens(x), heavy, none, split)[0, 20:].sum() >= 6


@settings(deadline=None, max_examples=30)
@given(problems(most=30), st.integers(1, 4))
def test_words_may_be_covered_in_another_space(problem, count):
    """Tokens cover tokens by their features, and words by their projections, which are as wide as these."""
    tokens, *rest = problem
    g = torch.Generator().manual_seed(count)
    projected, words = (
        torch.randn(*tokens.shape, 11, generator=g),
        torch.randn(len(tokens.features), count, 11, generator=g),
    )
    cues = {"question": words, "projected": projected.half().mT}
    part = FacilityLocation(power=0, temperature=0.2, cover="question", cover_space="projected")
    assert part.reads == {"question", "projected"}
    unit = torch.nn.functional.normalize(projected.half().double(), dim=2)

    def gains(here, scores, there, picks, row):
        own = shares(here @ here[there].T, there, 0.2) / len(there)
        said = torch.nn.functional.normalize(words[row].double(), dim=1)
        reach = torch.cat([own, shares(unit[row] @ said.T, there, 0.02) * 2 / count], 1)
        return (reach - covered(reach, picks)).clamp(min=0).sum(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy, "_CACHE", 1)  # a row at a time
        given_ = VisualTokens(tokens.features, cues, valid=tokens.valid)
        assert complaints(patch, part, (given_, *rest), gains, 1e-5) == []


def test_widths_that_do_not_compare_are_told():
    tokens = VisualTokens(torch.rand(1, 6, 4), {"question": torch.rand(1, 2, 5)})
    rest = torch.zeros(1, 6), torch.zeros(1, 6, dtype=torch.bool), Split(torch.tensor([0]), torch.tensor([1]))
    with pytest.raises(
        PipelineError, match="is 5 wide and tokens 4, which do not compare; write cover_space: projected"
    ):
        FacilityLocation(cover="question").choose(tokens, *rest)


def test_mmtok_is_that():
    pipeline = load("mmtok")
    part = pipeline.stages[0].diversifier
    assert part == FacilityLocation(power=0, temperature=0.2, cover="question", cover_space="projected")
    assert pipeline.stages[0].space == "encoder"
    assert pipeline.reads == {"question", "projected"}


def test_what_else_is_covered_weighs_as_one():
    """One token and one word beside one that is padding."""
    unit, words = torch.tensor([[[1.0, 0]]]), torch.tensor([[[2.0, 0], [0, 0]]])
    found, counted = with_more(torch.ones(1, 1, 1), unit, words, None, 1.0, 3.0)
    assert found[counted[:, None]].tolist() == [1, 3]
    assert counted.tolist() == [[True, True, False]]


def test_what_else_is_covered_is_measured_in_float32():
    g = torch.Generator().manual_seed(0)
    given_ = torch.rand(1, 8, 64, generator=g), torch.rand(1, 3, 64, generator=g), None, 0.1, 2.0
    wanted = with_more(torch.ones(1, 8, 8), *given_)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(with_more(torch.ones(1, 8, 8), *given_)[0], wanted)


def test_weights_are_those_of_each_row_and_of_what_is_there():
    scores, valid = torch.tensor([[0.25, -1, 0], [0, -2, 9], [4, 9, 0]]), torch.tensor([[True, True, False]])
    wanted = [[0.5, 0, 0], [1, 1, 1], [2, 3, 0]]
    assert coverage.weighed(scores, valid.expand(3, -1), 0.5).tolist() == wanted
    assert coverage.weighed(scores[::2], None, 0.5).tolist() == wanted[::2]


def test_scores_of_padding_do_not_weigh():
    tokens = VisualTokens(torch.eye(3)[[0, 1, 1, 2]][None], valid=~marks([3], 4)[None])
    split = Split(torch.tensor([0]), torch.tensor([1]))
    chosen = FacilityLocation().choose(tokens, marks([3], 4)[None].float(), marks([], 4)[None], split)
    assert chosen.nonzero()[:, 1].tolist() == [1]


def test_shares_are_the_same_a_target_at_a_time_and_none_where_nothing_is(monkeypatch):
    unit, valid = (
        torch.nn.functional.normalize(fine((2, 4)), dim=2),
        torch.tensor([[True, True, False, True], 4 * [False]]),
    )
    found = reach.reach(unit, valid, 0.2)
    monkeypatch.setattr(reach, "_PART", 1)
    assert torch.equal(reach.reach(unit, valid, 0.2), found)
    assert found.sum(1).round(decimals=4).tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]


def test_words_too_small_to_have_a_direction_do_not_count():
    words = torch.tensor([[[1e-30, -1e-30], [0, 0], [3, 4]]])
    found, counted = with_more(torch.ones(1, 1, 1), torch.tensor([[[0.6, 0.8]]]), words, None, 1.0, 3.0)
    assert counted.tolist() == [[True, False, False, True]]
    assert found.tolist() == [[[1, 3, 3, 3]]]
