"""DART's choice around pivots of the image, against what released code chose on inputs where nothing rounds."""

import pytest
import torch
from golden.cases import cases
from golden.fidelity import Fidelity

from tokenprune import Split, VisualTokens
from tokenprune_strategies.pivots import Pivots

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
CASES = {case.id: case for case in cases("dart") if not case.params["pivot_text"]}


def kept(case, pivots):
    """Places in the prompt that ``pivots`` pivots leave, ascending."""
    start, count = case.params["image_start"], case.params["image_length"]
    visited = torch.from_numpy(case.arrays["pivot_order"]).long() - start
    scores = torch.zeros(1, count).index_copy(1, visited, torch.arange(len(visited), 0, -1.0)[None])
    total = torch.tensor([case.expect["count"]])
    tokens = VisualTokens(case.input("hidden")[:, start : start + count])
    problem = tokens, scores, torch.zeros(1, count, dtype=torch.bool), Split(total * 0, total)
    return (Pivots(pivots=pivots).choose(*problem)[0].nonzero()[:, 0] + start).tolist()


def same(name):
    case = CASES[name]
    return kept(case, len(case.arrays["pivot_order"])) == case.arrays["kept_sorted"].tolist()


FIDELITY = Fidelity(
    "dart",
    pipelines=(),
    licence="Apache-2.0 (the port in llmc that was run)",
    checks={"the tokens that stay, around pivots of the image": (same, CASES)},
    deviations=(
        "Pivots are visited by falling score. The released code visits them in the order of a Python set of their "
        "numbers; which tokens stay depends on that order, so the recorded one is given.",
        "The budget is exact. The released code keeps the pivots besides, and rounds each pivot's share down.",
    ),
    unchecked=(
        "The authors' own repository was not at hand; what was run is the port of it in llmc.",
        "Pivots of the text: the diversifier `pivots` takes those of the image only.",
    ),
)


def test_the_cases_without_pivots_of_the_text():
    assert len(CASES) == 2
    assert all(case.exact for case in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_keeps_the_same_set(name):
    assert FIDELITY.holds("the tokens that stay, around pivots of the image", name)


@pytest.mark.parametrize("name", CASES)
def test_one_pivot_less_is_noticed(name):
    case = CASES[name]
    assert kept(case, len(case.arrays["pivot_order"]) - 1) != case.arrays["kept_sorted"].tolist()
