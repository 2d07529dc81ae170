"""DivPrune against what the authors' code chose, in the order in which it chose."""

import pytest
from golden.cases import cases
from golden.fidelity import Fidelity
from golden.mutants import PICKING, plain_picking

from tokenprune import VisualTokens, load
from tokenprune_strategies.similarity import far_apart

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
CASES = {case.id: case for case in cases("divprune")}
FEW = ("exact-N144-C64-q0.098", "exact_clustered-N144-C64-q0.25", "edge-exact_dup-N96-q0.6")


def tokens_of(case):
    return VisualTokens(case.input("features")[None])


def order_of(case):
    """The picks as the released code makes them, duplicates again and again; [T]."""
    return far_apart(tokens_of(case).unit, len(case.arrays["order"]), spent=1.0)[0]


def same_order(name):
    case = CASES[name]
    return order_of(case).tolist() == case.arrays["order"].tolist()


def kept(name, as_released):
    """The tokens that stay, and those that are recorded."""
    case = CASES[name]
    pipeline = load("divprune", budget=case.expect["T"], diversifier={"use": "max_min", "as_released": as_released})
    return set(pipeline.select(tokens_of(case)).indices()[0].tolist()), set(case.arrays["order"].tolist())


def same_set(name):
    found, wanted = kept(name, as_released=True)
    return found == wanted


def goes_on(name):
    """Where the released code picks duplicates again, ours goes on to others."""
    found, wanted = kept(name, as_released=False)
    return len(found) == CASES[name].expect["T"] and found >= wanted


FIDELITY = Fidelity(
    "divprune",
    pipelines=("divprune",),
    licence="CC-BY-NC-4.0",
    checks={
        "the picks, in order": (same_order, CASES),
        "the tokens that stay, `as_released`": (same_set, CASES),
        "all of these tokens stay, and the budget is exact": (goes_on, CASES),
    },
    deviations=(
        "A picked token is not picked again. The released code does so once only duplicates of picked tokens are left, "
        "so that they stand in the sequence twice; `as_released: true` picks again, and keeps fewer.",
        "Newlines of high-resolution images are no tokens and stay. The released code may drop them.",
    ),
)


def test_all_cases_are_there():
    assert len(CASES) == 49
    assert sum(case.exact for case in CASES.values()) == 41


@pytest.mark.parametrize("name", CASES)
def test_picks_in_the_order_of_the_released_code(name):
    case = CASES[name]
    assert case.exact or case.expect["min_cut_gap"] > 4e-6  # rounding has no say
    assert FIDELITY.holds("the picks, in order", name)


@pytest.mark.parametrize("check", list(FIDELITY.checks)[1:])
@pytest.mark.parametrize("name", CASES)
def test_keeps_the_same_set(name, check):
    assert FIDELITY.holds(check, name)


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
