"""GlobalCom2 against what the authors' code kept.

Where we part from it, on purpose: the budget is exact, so that counts differ by the released code's rounding down, and
choices are compared at the recorded counts. A crop's part of the thumbnail is where the crop lies, so that the shares
of an image that is padded differ. Kept tokens stay where they were, also in an image that is padded.
"""

import pytest
import torch
from golden.cases import cases
from golden.fidelity import Fidelity

from tokenprune import VisualTokens
from tokenprune.tokens import top
from tokenprune_strategies import thumbnail
from tokenprune_strategies.thumbnail import Thumbnail
from tokenprune_strategies.thumbnail_guided import ThumbnailGuided

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
CASES = {case.id: case for case in cases("globalcom2")}


def frame(case):
    """(down, across, side), and (top, left) and (h, w) of the map without padding, as LLaVA-NeXT unpads."""
    down, across, side = (case.params[name] for name in ("grid_h", "grid_w", "side"))
    (width, height), (tall, wide) = case.params["image_size"], (down * side, across * side)
    if width / height > wide / tall:
        pad = ((tall - int(height * (wide / width))) // 2, 0)
    else:
        pad = (0, (wide - int(width * (tall / height))) // 2)
    return (down, across, side), pad, (tall - 2 * pad[0], wide - 2 * pad[1])


def tokens_of(case):
    """Row 0 is the thumbnail."""
    (down, across, side), pad, canvas = frame(case)
    scores = 8 * case.input("scores_div_8")
    cell = torch.arange(side * side)
    own = torch.stack([cell // side, cell % side], -1)  # [N, 2]
    corners = [(y * side - pad[0], x * side - pad[1]) for y in range(down) for x in range(across)]
    place = torch.cat([own[None], own + torch.tensor(corners)[:, None]])
    sizes = torch.tensor([(side, side), *[canvas] * len(corners)])
    valid = ((place >= 0) & (place < sizes[:, None])).all(-1)
    rows = {"overview": torch.arange(len(sizes)) == 0, "group": torch.zeros(len(sizes), dtype=torch.int64)}
    cues = {"cls_logits": scores}
    return VisualTokens(
        torch.zeros(*valid.shape, 1), cues, valid, place.masked_fill(~valid[..., None], -1), sizes, **rows
    )


def recorded(case, tokens):
    """[crops, N] bool."""
    kept = torch.zeros(tokens.shape[0] - 1, tokens.shape[1], dtype=torch.bool)
    for crop, nth in case.arrays["kept_crop_token"].tolist():
        if crop >= 0:
            kept[crop, nth] = True
    return kept


def chosen(case, tokens):
    """[crops, N] bool, ours at the recorded counts."""
    counts = torch.tensor([0, *case.expect["topk_counts"]])
    return top(Thumbnail().score(tokens), counts, tokens.valid)[1:]


def same_thumbnail(name):
    case = CASES[name]
    tokens, order = tokens_of(case), case.arrays["thumbnail_order"].tolist()
    kept = top(Thumbnail().score(tokens), torch.tensor([len(order)] + [0] * (tokens.shape[0] - 1)), tokens.valid)
    return kept[0].nonzero()[:, 0].tolist() == sorted(order)


def same_crops(name):
    tokens = tokens_of(CASES[name])
    return torch.equal(chosen(CASES[name], tokens), recorded(CASES[name], tokens))


def same_shares(name):
    case = CASES[name]
    tokens = tokens_of(case)
    weights = torch.tensor(ThumbnailGuided().weights(tokens)[1:], dtype=torch.float64) / tokens.counts[1:]
    scales = (case.params["retention_ratio"] * weights).clamp(max=1)
    return torch.allclose(scales, torch.from_numpy(case.arrays["scales"]), rtol=0, atol=1e-6)


WHOLE = [name for name in CASES if frame(CASES[name])[1] == (0, 0)]
FIDELITY = Fidelity(
    "globalcom2",
    pipelines=("globalcom2",),
    licence="Apache-2.0",
    checks={
        "the thumbnail's tokens that stay": (same_thumbnail, CASES),
        "the crops' tokens that stay, at the recorded counts": (same_crops, CASES),
        "each crop's share of its tokens, of images without padding": (same_shares, WHOLE),
    },
    deviations=(
        "The budget is exact. The released code rounds each crop's count down.",
        "A crop's part of the thumbnail is where the crop lies. The released code takes equal tiles even of an image "
        "that is padded, so that the shares of padded images differ.",
        "Kept tokens stay where they were. The released code writes those of padded images at their unpadded index, "
        "and puts the thumbnail's in the order of their scores.",
    ),
    unchecked=(
        "Several images in one batch: the released code takes the first one's scores for all.",
        "The shares of padded images, see above.",
    ),
)


def test_all_cases_are_there():
    assert len(CASES) == 16
    assert all(case.exact for case in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_the_thumbnail_keeps_what_the_released_code_kept(name):
    assert FIDELITY.holds("the thumbnail's tokens that stay", name)


@pytest.mark.parametrize("name", CASES)
def test_crops_keep_what_the_released_code_kept(name):
    assert FIDELITY.holds("the crops' tokens that stay, at the recorded counts", name)


@pytest.mark.parametrize("name", WHOLE)
def test_crops_weigh_what_the_released_code_gave_them(name):
    assert FIDELITY.holds("each crop's share of its tokens, of images without padding", name)


MISTAKES = {
    "own scores alone": lambda flat, tokens, of: torch.zeros_like(flat),
    "the nearest token of the thumbnail": lambda flat, tokens, of: nearest(flat, tokens),
    "the thumbnail stretched over the padding": lambda flat, tokens, of: flat[:1].expand_as(flat),
}


def nearest(flat, tokens):
    at = (tokens.place.clamp(min=0) + 0.5) * (tokens.canvas[:1] / tokens.canvas)[:, None]
    cell = at.long()[..., 0] * tokens.canvas[0, 1] + at.long()[..., 1]
    return flat[:1].expand_as(flat).gather(1, cell.clamp(max=flat.shape[1] - 1))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed(mistake, monkeypatch):
    monkeypatch.setattr(thumbnail, "at_places", MISTAKES[mistake])
    few = list(CASES.values())[:4]
    assert not all(torch.equal(chosen(case, tokens_of(case)), recorded(case, tokens_of(case))) for case in few)
