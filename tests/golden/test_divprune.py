"""DivPrune against what the authors' code chose, in the order in which it chose."""

import pytest
from golden.cases import cases
from golden.mutants import PICKING, plain_picking

from tokenprune import VisualTokens, load
from tokenprune_strategies.similarity import far_apart

CASES = {case.id: case for case in cases("divprune")}
FEW = ("exact-N144-C64-q0.098", "exact_clustered-N144-C64-q0.25", "edge-exact_dup-N96-q0.6")


def tokens_of(case):
    return VisualTokens(case.input("features")[None])


def order_of(case):
    """The picks as the released code makes them, duplicates again and again; [T]."""
    return far_apart(tokens_of(case).unit, len(case.arrays["order"]), spent=1.0)[0]


def test_all_cases_are_there():
    assert len(CASES) == 49
    assert sum(case.exact for case in CASES.values()) == 41


@pytest.mark.parametrize("name", CASES)
def test_picks_in_the_order_of_the_released_code(name):
    case = CASES[name]
    assert case.exact or case.expect["min_cut_gap"] > 4e-6  # rounding has no say
    assert order_of(case).tolist() == case.arrays["order"].tolist()


@pytest.mark.parametrize("as_released", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_keeps_the_same_set(name, as_released):
    case = CASES[name]
    budget, wanted = case.expect["T"], set(case.arrays["order"].tolist())
    pipeline = load("divprune", budget=budget, diversifier={"use": "max_min", "as_released": as_released})
    found = set(pipeline.select(tokens_of(case)).indices()[0].tolist())
    if as_released:
        assert found == wanted
    else:  # where the released code picks duplicates again, ours goes on to others
        assert len(found) == budget
        assert found >= wanted


def test_the_plain_loop_agrees():
    for name in FEW:
        case = CASES[name]
        found = plain_picking()(tokens_of(case).unit, len(case.arrays["order"]))[0]
        assert found.tolist() == case.arrays["order"].tolist()


@pytest.mark.parametrize("mistake", PICKING)
def test_a_mistake_is_noticed(mistake):
    picking = plain_picking(**PICKING[mistake])
    orders = [(CASES[name], CASES[name].arrays["order"].tolist()) for name in FEW]
    assert any(picking(tokens_of(case).unit, len(order))[0].tolist() != order for case, order in orders)
