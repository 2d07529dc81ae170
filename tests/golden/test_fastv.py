"""FastV's choice by the last token's attention, against what released code kept; nothing rounds."""

import pytest
import torch
from golden.cases import cases
from golden.fidelity import Fidelity

from tokenprune import VisualTokens
from tokenprune.tokens import top
from tokenprune_strategies.text_attention import TextAttention

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
CASES = {case.id: case for case in cases("fastv")}
SMALL = next(iter(CASES.values()))


def kept(case, scorer, query=-1):
    """Indices that stay, from the first token of the prompt on; the attention is that of two queries."""
    start, count = case.params["image_start"], case.params["image_length"]
    attention = case.input("attention")[:, :, query]  # [1, H, L]
    image = attention[..., start : start + count]
    tokens = VisualTokens(torch.zeros(1, count, 1), cues={"last_attention@previous": image})
    chosen = top(scorer.score(tokens), torch.tensor([case.expect["T"]]))
    mask = torch.ones(attention.shape[2], dtype=torch.bool)
    mask[start : start + count] = chosen[0]
    return mask.nonzero()[:, 0].tolist()


def same(name):
    return kept(CASES[name], TextAttention()) == CASES[name].arrays["kept"].tolist()


FIDELITY = Fidelity(
    "fastv",
    pipelines=("fastv",),
    licence="no licence file",
    checks={"the tokens that stay": (same, CASES)},
    deviations=(
        "Of tokens that get the same attention the first one stays. The released sort leaves ties open.",
        "The layer is a share of the depth: the second of 32.",
    ),
    unchecked=("The attention is given to both. That it is read as the model computes it, other tests show.",),
)


def test_all_cases_are_there():
    assert len(CASES) == 27
    assert all(case.exact for case in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_keeps_what_the_released_code_kept(name):
    assert FIDELITY.holds("the tokens that stay", name)


@pytest.mark.parametrize("mistake", [{"scorer": TextAttention(heads="max")}, {"query": 0}])
def test_a_mistake_is_noticed(mistake):
    assert kept(SMALL, **{"scorer": TextAttention()} | mistake) != SMALL.arrays["kept"].tolist()
