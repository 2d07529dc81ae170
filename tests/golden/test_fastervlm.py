"""FasterVLM against what the authors' code chose."""

import pytest
import torch
from golden.cases import cases
from golden.fidelity import Fidelity

from tokenprune import VisualTokens, load
from tokenprune_strategies.cls_attention import ClsAttention

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
CASES = {case.id: case for case in cases("fastervlm")}
KEPT = {name: case for name, case in CASES.items() if case.arrays}  # the authors' code fails when T is more than N


def select(case):
    """The selection, and what is expected, [B, N] bool."""
    attention = case.input("attention")  # [B, H, N]
    tokens = VisualTokens(torch.zeros(len(attention), attention.shape[2], 1), cues={"cls_attention": attention})
    return load("fastervlm", budget=case.params["T"]).select(tokens).mask, case.mask(attention.shape[2])


def same(name):
    found, wanted = select(CASES[name])
    return torch.equal(found, wanted)


FIDELITY = Fidelity(
    "fastervlm",
    pipelines=("fastervlm",),
    licence="Apache-2.0",
    checks={"the tokens that stay": (same, KEPT)},
    deviations=(
        "Asked for more tokens than there are, ours keeps all; the released code fails.",
        "Of tokens that get the same attention the first one stays. The released sort leaves ties open.",
    ),
)


def test_all_cases_are_there():
    assert (len(CASES), len(KEPT)) == (72, 66)
    assert all(case.exact for case in CASES.values())


@pytest.mark.parametrize("name", KEPT)
def test_chooses_what_the_released_code_chose(name):
    assert FIDELITY.holds("the tokens that stay", name)


@pytest.mark.parametrize("name", sorted(CASES.keys() - KEPT.keys()))
def test_keeps_all_where_the_released_code_fails(name):
    case = CASES[name]
    tokens = VisualTokens(torch.zeros(3, 144, 1), cues={"cls_attention": torch.rand(3, 144)})
    assert case.expect["official"]["raises"] == "RuntimeError"
    assert case.params["T"] > 144
    assert load("fastervlm", budget=case.params["T"]).select(tokens).mask.all()


def later(x):
    """Ranks by mean attention; of tied tokens the later one comes first."""
    return x.mean(1).argsort(dim=1, stable=True).argsort(dim=1).float()


@pytest.mark.parametrize("score", [lambda x: x.amax(1), lambda x: x[:, 0], lambda x: -x.mean(1), later])
def test_a_mistake_is_noticed(score, monkeypatch):
    monkeypatch.setattr(ClsAttention, "score", lambda self, tokens: score(tokens.cue("cls_attention")))
    assert not all(torch.equal(*select(case)) for case in list(KEPT.values())[:12])
