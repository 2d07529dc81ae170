"""Float inputs, where rounding decides between near-ties: each decision is judged, not the path."""

import pytest
import torch
from golden import inputs, judge
from golden.cases import cases
from golden.mutants import PICKING, THINNING, plain_picking
from golden.plain import thin, unit_of

from tokenprune import VisualTokens, load
from tokenprune_strategies.similarity import far_apart
from tokenprune_strategies.thinning import Thinning, lengths

FLOAT = {case.id: case for method in ("vispruner", "divprune") for case in cases(method) if not case.exact}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MISTAKES = {name: mistake for name, mistake in THINNING.items() if not name.startswith("ties")}  # within rounding


def rounds(unit, end, step=8):
    """The list before each round and after the last: what a shorter run ends with is what a longer one goes on from."""
    count = unit.shape[1]
    return [Thinning(unit).run([count], [left], step)[0].tolist() for left in lengths(count, end, step)]


def drawn(kind, seed, shape, dtype=torch.float32):
    return torch.from_numpy(inputs.features(kind, seed, shape)).to(dtype)


@pytest.mark.parametrize("name", [name for name, case in FLOAT.items() if "attention" in case.inputs])
def test_vispruner_on_recorded_floats(name):
    case = FLOAT[name]
    tokens = VisualTokens(case.input("features"), cues={"cls_attention": case.input("attention")})
    kept = load("vispruner", budget=48).select(tokens).important[0]
    scores = tokens.cue("cls_attention").double().mean(1)[0]
    assert not judge.top(scores, kept)
    rest = scores.argsort(descending=True, stable=True)[24:]
    lists = rounds(tokens.unit[:, rest], 24)
    assert not judge.thinning(unit_of(tokens.features[0, rest]), lists, 24, 8)


@pytest.mark.parametrize("name", [name for name, case in FLOAT.items() if "attention" not in case.inputs])
def test_divprune_on_recorded_floats(name):
    features = FLOAT[name].input("features")
    order = far_apart(VisualTokens(features[None]).unit, 51)[0].tolist()
    assert not judge.picks(unit_of(features), order)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kind", "shape", "end", "step"), [("iid", (200, 64), 31, 8), ("clustered", (333, 128), 20, 5)]
)
def test_thinning(kind, shape, end, step, dtype):
    x = drawn(kind, 7, shape, dtype)
    lists = rounds(VisualTokens(x[None]).unit, end, step)
    assert not judge.thinning(unit_of(x), lists, end, step)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "shape"), [("iid", (200, 64)), ("clustered", (333, 128))])
def test_picking(kind, shape, dtype):
    x = drawn(kind, 8, shape, dtype)
    assert not judge.picks(unit_of(x), far_apart(VisualTokens(x[None]).unit, 60)[0].tolist())


@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_the_judge_notices_mistakes_in_thinning(mistake):
    unit = unit_of(drawn("clustered", 9, (120, 64)))
    lists = thin(unit, range(120), 30, **{"step": 8} | MISTAKES.get(mistake, {}))
    assert bool(judge.thinning(unit, lists, 30, 8)) == (mistake is not None)


@pytest.mark.parametrize("mistake", [None, *(name for name in PICKING if not name.startswith("ties"))])
def test_the_judge_notices_mistakes_in_picking(mistake):
    unit = unit_of(drawn("clustered", 9, (120, 64)))
    order = plain_picking(**PICKING.get(mistake, {}))(unit[None], 30)[0].tolist()
    assert bool(judge.picks(unit, order)) == (mistake is not None)


def test_the_judge_notices_a_wrong_cut():
    scores = torch.arange(10.0)
    assert not judge.top(scores, scores > 6)
    assert judge.top(scores, scores < 3)
