"""Scorers of published methods against their formulas, one token at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from torch.nn.functional import cosine_similarity, interpolate, normalize

import tokenprune
from tokenprune import VisualTokens, load
from tokenprune.errors import PipelineError
from tokenprune_strategies.attention_received import AttentionReceived
from tokenprune_strategies.cls_attention import ClsAttention
from tokenprune_strategies.feature_uniqueness import FeatureUniqueness
from tokenprune_strategies.hidden_norm import HiddenNorm
from tokenprune_strategies.key_norm import KeyNorm
from tokenprune_strategies.product import Product
from tokenprune_strategies.region import Region
from tokenprune_strategies.scaling import scaled
from tokenprune_strategies.text_relevance import TextRelevance
from tokenprune_strategies.thumbnail import Thumbnail
from tokenprune_strategies.weighted_sum import WeightedSum
from tokenprune_strategies.window_rank import WindowRank

G = torch.Generator().manual_seed(0)
X = torch.randn(3, 6, 5, generator=G)
VALID = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 0]]).bool()
WORDS = torch.randn(3, 4, 5, generator=G)
WORDS[1, 2:] = 0  # a shorter prompt
WORDS[2] = 0  # a prompt without words


def close(one, other):
    torch.testing.assert_close(one, torch.as_tensor(other, dtype=torch.float32), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("over", ["mean", "max"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("temperature", [None, 0.3])
def test_text_relevance(over, sign, temperature):
    scorer = TextRelevance(over=over, sign=sign, temperature=temperature)
    found = scorer.score(VisualTokens(X, cues={"question": WORDS}, valid=VALID))
    for row, words in ((0, WORDS[0]), (1, WORDS[1, :2])):
        there = VALID[row]
        said = torch.stack([cosine_similarity(X[row, there], word[None]) for word in words])  # [M, n]
        said = said if temperature is None else (said / temperature).softmax(1)
        close(found[row, there], sign * (said.mean(0) if over == "mean" else said.amax(0)))
    assert not found[2].any()


def test_words_of_another_width_are_refused():
    with pytest.raises(PipelineError, match=r"words are 5 wide and tokens 2, .*write space: projected"):
        TextRelevance().score(VisualTokens(X[..., :2], cues={"question": WORDS}))


@pytest.mark.parametrize("wrap", [lambda of: of, lambda of: {"use": "sum", "of": ["uniform", of]}])
def test_tokens_are_compared_with_words_where_words_are(wrap):
    parts = {"name": "p", "scorer": wrap("text_relevance"), "splitter": "equal", "budget": 1}
    assert load({**parts, "space": "projected"}).reads == {"question"}
    with pytest.raises(PipelineError, match="TextRelevance means nothing in encoder space; write space: projected"):
        load(parts)
    second = {"use": "second_score", "of": wrap("text_relevance")}
    with pytest.raises(PipelineError, match="write space: projected"):
        load({**parts, "scorer": "uniform", "diversifier": second})


def test_the_cls_row_of_other_kinds():
    cues = {"cls_attention": X[..., 0], "cls_logits": X[..., 1], "wide_cls_attention": X[..., 2]}
    for at, of in enumerate(("attention", "logits", "wide")):
        assert torch.equal(ClsAttention(of=of).score(VisualTokens(X, cues=cues)), X[..., at])


def test_what_is_read_of_a_layer():
    cues = {"received_attention@3": X[..., 0].abs(), "keys@-2": X.mT, "keys": X.mT * 2}
    tokens = VisualTokens(X, cues=cues)
    assert torch.equal(AttentionReceived(layer=3).score(tokens), X[..., 0].abs())
    assert AttentionReceived().reads == {"received_attention"}
    close(KeyNorm(layer=-2).score(tokens), X.abs().sum(-1))
    for layer in ("previous", "this"):
        assert KeyNorm(layer=layer).reads == {f"keys@{layer}"}
    close(KeyNorm(norm="l2", sign=-1).score(tokens), -2 * X.square().sum(-1).sqrt())
    close(HiddenNorm().score(tokens), X.square().sum(-1).sqrt())
    close(HiddenNorm(norm="l1", sign=-1).score(tokens), -X.abs().sum(-1))


@pytest.mark.parametrize("within", ["row", "image"])
def test_feature_uniqueness(within):
    group = torch.tensor([0, 1, 0])
    tokens = VisualTokens(X, valid=VALID, group=group)
    unit = normalize(X, dim=-1)
    gaussian, similar = (FeatureUniqueness(measure=m, within=within).score(tokens) for m in ("gaussian", "similarity"))
    for row in range(3):
        rows = [one for one in range(3) if group[one] == group[row]] if within == "image" else [row]
        others = torch.cat([unit[one, VALID[one]] for one in rows])
        for token in VALID[row].nonzero()[:, 0].tolist():
            far = float((unit[row, token] - others.mean(0)).square().sum())
            close(gaussian[row, token], -sum(torch.tensor(-far / 2 / 2.0**power).exp() for power in range(-3, 2)))
            close(similar[row, token], -(others @ unit[row, token]).mean())


def grid(height, width, rows=1, **rest):
    return VisualTokens.on_grid(torch.zeros(rows, height * width, 1), (height, width), **rest)


@pytest.mark.parametrize(
    ("boxes", "cells"),
    [
        ([(0, 0, 1, 1)], range(12)),
        ([(0.25, 1 / 3, 0.5, 2 / 3)], [5]),
        ([(0.3, 0.4, 0.6, 0.5)], [5, 6]),  # it touches two cells
        ([(0, 0, 0.1, 0.1), (0.9, 0.9, 1, 1)], [0, 11]),
        ([(0.5, 0.5, 0.5, 0.5)], []),  # no area
    ],
)
def test_a_region_is_what_touches_a_box(boxes, cells):
    wanted = torch.zeros(12).index_fill(0, torch.tensor(list(cells), dtype=torch.int64), 1)
    assert torch.equal(Region(boxes=boxes).score(grid(3, 4))[0], wanted)
    assert torch.equal(Region(boxes=boxes, action="drop").score(grid(3, 4))[0], 1 - wanted)


def test_boxes_need_places_and_lie_in_the_image():
    with pytest.raises(PipelineError, match="no place in their image"):
        Region(boxes=[(0, 0, 1, 1)]).score(VisualTokens(X))
    with pytest.raises(ValidationError):
        Region(boxes=[(0, 0, 2, 1)])
    with pytest.raises(ValidationError):
        Region(boxes=[(0, 0, 1)])


# --- scores on a common scale ----------------------------------------------------------------------------------------

NUMBERS = st.lists(st.sampled_from((-3.0, -1.0, 0.0, 0.5, 2.0, 1e30, float("nan"))), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(NUMBERS, st.data())
def test_scales(numbers, data):
    valid = torch.tensor([data.draw(st.booleans()) for _ in numbers])
    x = torch.tensor(numbers)
    real = x[valid].nan_to_num(0).double()
    got = {how: scaled(x[None], valid[None], how)[0] for how in ("none", "minmax", "softmax", "l2", "rank")}
    assert all(not one[~valid].any() for one in got.values())
    if not len(real):
        return
    span = real.max() - real.min()
    close(got["none"][valid], real)
    close(got["minmax"][valid], (real - real.min()) / span if span else real * 0)
    close(got["softmax"][valid], real.softmax(0))
    close(got["l2"][valid], real / real.norm() if real.norm() else real)
    order = sorted(range(len(real)), key=lambda n: (-float(real[n]), n))
    close(got["rank"][valid], [(len(real) - order.index(n)) / len(real) for n in range(len(real))])


PARTS = {"of": ["hidden_norm", {"use": "cls_attention", "layer": 1}]}


def test_sum_and_product_of_scores():
    tokens = VisualTokens(X, cues={"cls_attention@1": X[..., 0].abs()}, valid=VALID)
    one, other = HiddenNorm().score(tokens), X[..., 0].abs()
    for how in ("none", "minmax", "softmax", "l2", "rank"):
        a, b = (scaled(part, VALID, how) for part in (one, other))
        total = load({"name": "p", "scorer": {"use": "sum", **PARTS, "scale": how}, "splitter": "equal", "budget": 1})
        close(total.stages[0].scorer.score(tokens), a + b)
        weighted = total.replace(scorer={"use": "sum", **PARTS, "scale": how, "weights": [2, -0.5]})
        close(weighted.stages[0].scorer.score(tokens), 2 * a - 0.5 * b)
        powered = total.replace(scorer={"use": "product", **PARTS, "scale": how, "powers": [2, 0.5]})
        close(powered.stages[0].scorer.score(tokens), a**2 * b**0.5)
        assert powered.reads == weighted.reads == {"cls_attention@1|received_attention@1"}
        assert load(tokenprune.Pipeline.model_validate(powered.model_dump(mode="json"))) == powered
    assert not WeightedSum().score(tokens).any()
    assert Product().score(tokens).eq(1).all()


@pytest.mark.parametrize("kind", [WeightedSum, Product])
def test_a_number_for_each_score(kind):
    numbers = "weights" if kind is WeightedSum else "powers"
    with pytest.raises(ValidationError, match=f"1 {numbers} for 2 scores"):
        kind(of=(HiddenNorm(), HiddenNorm()), **{numbers: [1.0]})


def test_the_schema_tells_scores_within_scores_by_name():
    plain = {"name": "p", "scorer": {"use": "sum", "of": ["hidden_norm"]}, "splitter": "equal", "budget": 1}
    for scorer, right in ((plain["scorer"], True), ({"use": "sum", "of": ["hidden_nrom"]}, False)):
        assert (
            Draft202012Validator(tokenprune.Pipeline.model_json_schema()).is_valid(plain | {"scorer": scorer}) == right
        )


# --- thumbnails ------------------------------------------------------------------------------------------------------


def tiled(down, across, side, **rest):
    """A thumbnail and its crops, all ``side`` x ``side``; row 0 is the thumbnail."""
    cell = torch.arange(side * side)
    own = torch.stack([cell // side, cell % side], -1)  # [N, 2]
    corners = torch.tensor([(0, 0), *((y * side, x * side) for y in range(down) for x in range(across))])
    canvas = torch.tensor([[side, side]] + [[down * side, across * side]] * (down * across))
    overview = torch.tensor([True] + [False] * (down * across))
    place, group = own + corners[:, None], torch.zeros(len(corners), dtype=torch.int64)
    features = torch.zeros(*place.shape[:2], 1)
    return VisualTokens(features, place=place, canvas=canvas, overview=overview, group=group, **rest)


@pytest.mark.parametrize(("down", "across"), [(2, 2), (1, 3), (2, 1)])
def test_a_crop_adds_what_the_thumbnail_says_of_it(down, across):
    scores = torch.rand(1 + down * across, 25, generator=torch.Generator().manual_seed(1))
    found = Thumbnail().score(tiled(down, across, 5, cues={"cls_logits": scores}))
    large = interpolate(scores[0].view(1, 1, 5, 5), size=(down * 5, across * 5), mode="bilinear")[0, 0]
    close(found[0], normalize(scores[0], dim=0))
    for crop in range(down * across):
        y, x = (5 * part for part in divmod(crop, across))
        seen = large[y : y + 5, x : x + 5].flatten()
        close(found[1 + crop], normalize(scores[1 + crop], dim=0) + normalize(seen, dim=0))


def test_without_a_thumbnail_there_is_its_own_score():
    scores = torch.rand(2, 6)
    close(Thumbnail().score(grid(2, 3, 2, cues={"cls_logits": scores})), normalize(scores, dim=1))
    close(Thumbnail(of=HiddenNorm()).score(VisualTokens(X)), normalize(HiddenNorm().score(VisualTokens(X)), dim=1))


# --- windows, and a second score -------------------------------------------------------------------------------------


def test_a_budget_takes_the_best_of_every_window_first():
    """A 4 x 6 map in windows of 3 x 3, of which the lower ones hold one line; scores fall with the token's number."""
    scores = torch.arange(24.0, 0, -1)[None]
    tokens = grid(4, 6, cues={"cls_attention": scores})
    found = WindowRank(window=3).score(tokens)[0].argsort(descending=True).tolist()
    assert found[:8] == [0, 3, 18, 21, 1, 4, 19, 22]
    assert found[8:12] == [2, 5, 20, 23]
    assert found[12:] == [6, 9, 7, 10, 8, 11, 12, 15, 13, 16, 14, 17]


def test_windows_of_tokens_without_places_are_runs():
    scores = torch.tensor([[1.0, 2, 3, 4, 9, 8, 7, 6, 5, 5]])
    valid = torch.ones(1, 10).bool().index_fill(1, torch.tensor([3]), False)
    tokens = VisualTokens(torch.zeros(1, 10, 1), cues={"cls_attention": scores}, valid=valid)
    found = WindowRank(window=2).score(tokens)[0]
    assert found.masked_fill(~valid[0], -torch.inf).argsort(descending=True, stable=True).tolist()[:4] == [4, 8, 2, 5]


def test_the_rest_is_chosen_by_a_second_score():
    first, second = torch.tensor([[9.0, 1, 8, 2, 7, 3]]), torch.tensor([[5.0, 1, 2, 6, 3, 4]])
    cues = {"cls_attention": first, "cls_attention@1": second}
    parts = {"splitter": {"use": "equal", "important": 0.5}, "budget": 4, "scorer": "cls_attention"}
    other = {"use": "second_score", "of": {"use": "cls_attention", "layer": 1}}
    pipeline = load({"name": "p", **parts, "diversifier": other})
    assert pipeline.reads == {"cls_attention|received_attention", "cls_attention@1|received_attention@1"}
    found = pipeline.select(VisualTokens(torch.zeros(1, 6, 1), cues=cues))
    assert (found.important.nonzero()[:, 1].tolist(), found.diverse.nonzero()[:, 1].tolist()) == ([0, 2], [3, 5])
    spread = pipeline.replace(diversifier="second_score").select(VisualTokens(torch.zeros(1, 6, 1), cues=cues))
    assert spread.counts.tolist() == [4]


@pytest.mark.parametrize(("times", "said"), [(39.26, "39.26"), (3, "3"), (100.0, "100"), (0.5, "0.5")])
def test_global_queries_are_a_cue_with_a_number(times, said):
    scorer = AttentionReceived(times=times, layer=-2)
    assert scorer.reads == {f"global_attention:{said}@-2"}
    assert torch.equal(scorer.score(VisualTokens(X, cues={f"global_attention:{said}@-2": X[..., 0]})), X[..., 0])
