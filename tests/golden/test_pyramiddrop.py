"""PyramidDrop's choice by the attention of the layer about to run, against what released code kept.

The released code ran with projections, norm and rotation that change nothing: queries and keys are the hidden states.
"""

import pytest
import torch
from golden.cases import cases
from golden.fidelity import Fidelity

from tokenprune import VisualTokens
from tokenprune.tokens import top
from tokenprune_strategies.text_attention import TextAttention

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
PAIRS = [(case, row) for case in cases("pyramiddrop") for row in range(len(case.params["image_pos"]))]
IMAGES = {f"{case.id}-{row}": (case, row) for case, row in PAIRS if case.params["image_pos"][row] >= 0}


def attention(case, row, shift=0):
    """[1, H, N] softmax of the last instruction token's row over all before it, at the tokens of the image."""
    size = sizes(case, row)
    hidden, heads = case.input("hidden")[row], case.params["heads"]
    asks = case.params["prompt_len"][row] + size[0] - 1 + shift
    keys = hidden[: asks + 1].view(asks + 1, heads, -1).transpose(0, 1)  # [H, L, d]
    logits = (keys @ keys[:, -1:].mT)[..., 0] / keys.shape[2] ** 0.5
    start = case.params["image_pos"][row]
    return logits.softmax(1)[None, :, start : start + size[0]]


def sizes(case, row):
    """Tokens of the image before and after the stage."""
    full, ratios, stage = (case.params[name] for name in ("image_tokens_full", "ratios", "stage"))
    return int(full[row] * ratios[stage]), int(full[row] * ratios[stage + 1])


def kept(case, row, **changes):
    """Indices that stay, from the first token of the prompt on."""
    before, after = sizes(case, row)
    tokens = VisualTokens(torch.zeros(1, before, 1), cues={"last_attention@this": attention(case, row, **changes)})
    chosen = top(TextAttention(layer="this").score(tokens), torch.tensor([after]))
    start = case.params["image_pos"][row]
    mask = torch.ones(case.input("hidden").shape[1], dtype=torch.bool)
    mask[start : start + before] = chosen[0]
    return mask.nonzero()[:, 0].tolist()


def same(name):
    case, row = IMAGES[name]
    return kept(case, row) == case.arrays[f"kept{row}"].tolist()


FIDELITY = Fidelity(
    "pyramiddrop",
    pipelines=("pyramiddrop",),
    licence="MIT",
    checks={"the tokens of each image that stay": (same, IMAGES)},
    deviations=(
        "The query is the last token of the prompt. The released code takes the last one of the instruction, which on "
        "templates that open the answer stands before it; the recorded query is given.",
    ),
    unchecked=(
        "All inputs are floats; no decision was nearer than 3e-7 of an attention.",
        "The position ids of later stages, and what the cache holds: the released model was not run as a whole.",
    ),
)


def test_all_images_are_there():
    assert (len(PAIRS), len(IMAGES)) == (6, 5)
    assert all(case.expect["cut_gap"] > 3e-7 for case, _ in PAIRS)


@pytest.mark.parametrize("name", IMAGES)
def test_keeps_what_the_released_code_kept(name):
    assert FIDELITY.holds("the tokens of each image that stay", name)


def test_a_prompt_without_images_stays_whole():
    (case, row) = next((case, row) for case, row in PAIRS if case.params["image_pos"][row] < 0)
    assert case.arrays[f"kept{row}"].tolist() == list(range(case.input("hidden").shape[1]))


@pytest.mark.parametrize("name", IMAGES)
def test_another_query_is_noticed(name):
    case, row = IMAGES[name]
    assert kept(case, row, shift=-1) != case.arrays[f"kept{row}"].tolist()
