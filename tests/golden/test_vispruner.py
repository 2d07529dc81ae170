"""VisPruner against what the authors' code chose."""

import pytest
import torch
from golden.cases import cases
from golden.mutants import THINNING, plain_thinning

from tokenprune import VisualTokens, load
from tokenprune_strategies import similarity_dedup

CASES = {case.id: case for case in cases("vispruner")}
FEW = ("grid-B1-N144-C64-T32-r0.5", "grid-B3-N144-C64-T32-r0.0", "ties-pm1-dyadic-N256-T64-r0.5", "short-N17-T9")


def select(case):
    """The selection, and what is expected, [B, N] bool."""
    features, attention = case.input("features"), case.input("attention")
    share = {"use": "equal", "important": case.params["important_ratio"]}
    pipeline = load("vispruner", budget=case.params["T"], splitter=share)
    selection = pipeline.select(VisualTokens(features, cues={"cls_attention": attention}))
    return selection.mask, case.mask(features.shape[1])


def test_all_cases_are_there():
    assert len(CASES) == 249
    assert sum(case.exact for case in CASES.values()) == 241


@pytest.mark.parametrize("name", CASES)
def test_chooses_what_the_released_code_chose(name):
    case = CASES[name]
    assert case.exact or case.expect["min_order_gap"] > 4e-6  # rounding has no say
    found, wanted = select(case)
    assert torch.equal(found, wanted)


def test_the_plain_loop_agrees(monkeypatch):
    monkeypatch.setattr(similarity_dedup, "Thinning", plain_thinning())
    assert all(torch.equal(*select(CASES[name])) for name in FEW)


@pytest.mark.parametrize("mistake", THINNING)
def test_a_mistake_is_noticed(mistake, monkeypatch):
    monkeypatch.setattr(similarity_dedup, "Thinning", plain_thinning(**THINNING[mistake]))
    assert not all(torch.equal(*select(CASES[name])) for name in FEW)
