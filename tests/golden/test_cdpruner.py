"""CDPruner against what the authors' code chose; its inputs are floats, so near-ties are judged instead."""

import pytest
import torch
from golden.cases import cases
from golden.fidelity import Fidelity
from strategies.plain import picked

from tokenprune import Split, VisualTokens
from tokenprune_strategies.dpp import Dpp

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
CASES = {case.id: case for case in cases("cdpruner")}
ROUNDING = 4e-6  # nearer decisions than this may fall either way
CLEAR = [name for name, case in CASES.items() if case.expect.get("min_cut_gap", 0) > ROUNDING]
ROOMY = [name for name in CASES if name != "rank-exhausted"]
ALONE = [name for name in CLEAR if "-B1-" in name]


def relevance(case):
    """[B, N] minus the cosine to each part of the question, on average: what the authors' code takes for relevance."""
    image, text = case.input("image_embeds"), case.input("text_embeds")
    if case.id == "batch-coupling":
        slope = torch.round(64 * torch.linspace(-1, 1, image.shape[1])) / 64
        image = image + 4 * text[0] * slope[:, None] * torch.tensor([1.0, 0])[:, None, None]
    image, text = (x / x.norm(dim=-1, keepdim=True) for x in (image, text))
    return -(image @ text.T).mean(-1)


def problem_of(case):
    scores = relevance(case)
    none, count = torch.zeros(scores.shape, dtype=torch.bool), torch.full(scores.shape[:1], case.params["T"])
    return VisualTokens(case.input("features")), scores, none, Split(count * 0, count)


def judge(unit, relevance, order):
    """How far below the best each pick was, at most; everything anew in float64."""
    left, factor, worst = unit.square().sum(1), [], 0.0
    for nth, pick in enumerate(order):
        gains = (relevance**2 * left).index_fill(0, torch.tensor(order[:nth], dtype=torch.int64), -1)
        worst = max(worst, float(gains.max() - gains[pick]))
        new = unit @ unit[pick] - sum((row * row[pick] for row in factor), torch.zeros(()))
        factor.append(new / left[pick].sqrt())
        left = left - factor[-1] ** 2
    return worst


def same_as_released(name):
    chosen = Dpp(as_released=True).choose(*problem_of(CASES[name]))
    return torch.equal(chosen, CASES[name].mask(chosen.shape[1]))


def same_alone(name):
    """The batch of the released code is then the row; what is added to its relevance is too small to matter."""
    chosen = Dpp().choose(*problem_of(CASES[name]))
    return torch.equal(chosen, CASES[name].mask(chosen.shape[1]))


def picks(name):
    """Of every row (unit [N, C], relevance [N], picks in order)."""
    tokens, scores, *rest = problem_of(CASES[name])
    together = (scores - scores.min() + 1e-6) / (scores.max() - scores.min())
    orders = picked(pytest.MonkeyPatch(), Dpp(as_released=True), (tokens, scores, *rest))[1]
    return list(zip(tokens.unit.double(), together.double(), orders, strict=True))


def right_picks(name):
    return all(judge(*one) < ROUNDING for one in picks(name))


FIDELITY = Fidelity(
    "cdpruner",
    pipelines=("cdpruner",),
    licence="Apache-2.0",
    checks={
        "the tokens that stay, `as_released`": (same_as_released, CLEAR),
        "the tokens that stay, of a single row": (same_alone, ALONE),
        "each pick is the best that was left, judged in float64": (right_picks, ROOMY),
    },
    deviations=(
        "Relevance is scaled within its row. The released code scales over the whole batch, so that what stays of one "
        "crop depends on the others; `as_released: true` does so too.",
        "The budget is exact where the tokens' rank is exhausted. The released code takes the root of rounding errors "
        "there and picks tokens again; `as_released: true` keeps fewer than the budget, how many is left to rounding.",
        "Relevance is the cosine to the language model's word embeddings, which every family has, and what is relevant "
        "stays. The released code takes minus the cosine in CLIP's joint space; `text_relevance` has a `sign`.",
    ),
    unchecked=(
        "All inputs are floats: sets are compared only where no decision was nearer than 4e-6, and each pick is judged "
        "on the others.",
        "Relevance in CLIP's joint space: the recorded relevance is handed to the part that chooses.",
    ),
)


def test_all_cases_are_there():
    assert len(CASES) == 20
    assert len(CLEAR) == 12
    assert len(ALONE) == 6
    assert all(case.expect.get("robust", True) for case in CASES.values())


@pytest.mark.parametrize("name", CLEAR)
def test_keeps_the_same_set_as_released(name):
    assert FIDELITY.holds("the tokens that stay, `as_released`", name)


@pytest.mark.parametrize("name", ALONE)
def test_one_row_needs_no_switch(name):
    assert FIDELITY.holds("the tokens that stay, of a single row", name)


@pytest.mark.parametrize("name", ROOMY)
def test_each_pick_is_right_in_float64(name):
    assert FIDELITY.holds("each pick is the best that was left, judged in float64", name)
    for unit, quality, order in picks(name):
        assert judge(unit, quality, order[::-1]) > 100 * ROUNDING
        assert judge(unit, torch.ones_like(quality), order) > 100 * ROUNDING


def test_as_released_the_rows_of_a_batch_depend_on_each_other():
    case = CASES["batch-coupling"]
    together, apart = (Dpp(as_released=it).choose(*problem_of(case)) for it in (True, False))
    assert torch.equal(together, case.mask(together.shape[1]))
    assert torch.equal((together == apart).all(1), torch.tensor(case.expect["same_as_one_by_one"]))


def test_as_released_fewer_stay_when_the_rank_is_exhausted():
    """How many is left to rounding; the released code kept 27 of 40."""
    case = CASES["rank-exhausted"]
    assert case.expect["count"] == [27]
    assert Dpp(as_released=True).choose(*problem_of(case)).sum() < 40
    assert Dpp().choose(*problem_of(case)).sum() == 40
