"""VisPruner against what the authors' code chose."""

import pytest
import torch
from golden.cases import cases
from golden.fidelity import Fidelity
from golden.mutants import THINNING, plain_thinning

from tokenprune import VisualTokens, load
from tokenprune_strategies import similarity_dedup

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
CASES = {case.id: case for case in cases("vispruner")}
FEW = ("grid-B1-N144-C64-T32-r0.5", "grid-B3-N144-C64-T32-r0.0", "ties-pm1-dyadic-N256-T64-r0.5", "short-N17-T9")


def select(case):
    """The selection, and what is expected, [B, N] bool."""
    features, attention = case.input("features"), case.input("attention")
    share = {"use": "equal", "important": case.params["important_ratio"]}
    pipeline = load("vispruner", budget=case.params["T"], splitter=share)
    selection = pipeline.select(VisualTokens(features, cues={"cls_attention": attention}))
    return selection.mask, case.mask(features.shape[1])


def same(name):
    found, wanted = select(CASES[name])
    return torch.equal(found, wanted)


WORKS = [name for name, case in CASES.items() if case.expect["official_equals_mask"]]
FIDELITY = Fidelity(
    "vispruner",
    pipelines=("vispruner",),
    licence="Apache-2.0",
    checks={"the tokens that stay": (same, CASES)},
    deviations=(
        f"In {len(CASES) - len(WORKS)} of {len(CASES)} cases an odd number of tokens is left to thin, where the "
        "released loop counts one even place too few and fails, or keeps one token too few; what is recorded is what "
        "it chooses with the true number. On the others the loop as released chose the same.",
        "Of equally similar tokens the one listed first goes. The released sort leaves ties open.",
        "Similarity and the mean over heads are float32 whatever the model's dtype. The released code computes in the "
        "model's, where near-ties fall differently.",
        "Newlines of high-resolution images stay, and crops are unpadded, as the model does without pruning. The "
        "released code drops the newlines and keeps the padding, which changes the model before anything is pruned.",
    ),
    unchecked=(
        "Whether a half-precision run on a GPU keeps the same tokens: one swapped near-tie changes every later round, "
        "so that two right implementations part ways. On float inputs each decision is judged in float64 instead.",
    ),
)


def test_all_cases_are_there():
    assert len(CASES) == 249
    assert sum(case.exact for case in CASES.values()) == 241


@pytest.mark.parametrize("name", CASES)
def test_chooses_what_the_released_code_chose(name):
    case = CASES[name]
    assert case.exact or case.expect["min_order_gap"] > 4e-6  # rounding has no say
    assert FIDELITY.holds("the tokens that stay", name)


def test_the_plain_loop_agrees(monkeypatch):
    monkeypatch.setattr(similarity_dedup, "Thinning", plain_thinning())
    assert all(torch.equal(*select(CASES[name])) for name in FEW)


@pytest.mark.parametrize("mistake", THINNING)
def test_a_mistake_is_noticed(mistake, monkeypatch):
    monkeypatch.setattr(similarity_dedup, "Thinning", plain_thinning(**THINNING[mistake]))
    assert not all(torch.equal(*select(CASES[name])) for name in FEW)
