"""DART's choice around pivots of the image, against what released code chose on inputs where nothing rounds."""

import pytest
import torch
from golden.cases import cases

from tokenprune import Split, VisualTokens
from tokenprune_strategies.pivots import Pivots

CASES = {case.id: case for case in cases("dart") if not case.params["pivot_text"]}


def test_the_cases_without_pivots_of_the_text():
    assert len(CASES) == 2
    assert all(case.exact for case in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_keeps_the_same_set(name):
    case = CASES[name]
    start, count = case.params["image_start"], case.params["image_length"]
    pivots = torch.from_numpy(case.arrays["pivot_order"]).long() - start
    scores = torch.zeros(1, count).index_copy(
        1, pivots, torch.arange(len(pivots), 0, -1.0)[None]
    )  # in the order visited
    total = torch.tensor([case.expect["count"]])
    tokens = VisualTokens(case.input("hidden")[:, start : start + count])
    problem = tokens, scores, torch.zeros(1, count, dtype=torch.bool), Split(total * 0, total)
    found = Pivots(pivots=len(pivots)).choose(*problem)[0].nonzero()[:, 0] + start
    assert found.tolist() == case.arrays["kept_sorted"].tolist()
    fewer = Pivots(pivots=len(pivots) - 1).choose(*problem)[0].nonzero()[:, 0] + start
    assert fewer.tolist() != found.tolist()
