"""VisionZip against what the authors' code made: dominants, centres, who goes where, and the vectors that come out.

Where we part from it, on purpose: the CLS token is not handed on (its row of the recorded output is left out), and a
contextual token stands where its centre stood, not behind all dominant ones. Asked for as many tokens as there are, or
more, we change nothing, where the released code adds nothing to each centre or fails.
"""

from dataclasses import replace

import pytest
import torch
from golden.cases import cases
from golden.fidelity import Fidelity

from tokenprune import VisualTokens, load
from tokenprune_strategies import nearest, space

pytestmark = pytest.mark.xdist_group("golden")  # they share comparisons that have run
CASES = {case.id: case for case in cases("visionzip")}
KEPT = {name: case for name, case in CASES.items() if case.arrays}
FOLDED = {name: case for name, case in KEPT.items() if sum(case.params.values()) < case.input("metric").shape[1] - 1}
FEW = ("exact-B3-N144-C64-d40-c8", "exact_clustered-B3-N144-C64-d40-c8")


def tokens_of(case):
    """Tokens without the CLS token, which the recorded numbering counts."""
    hidden, keys = case.input("hidden")[:, 1:], case.input("metric")[:, 1:]
    return VisualTokens(hidden, cues={"cls_attention": case.input("cls_attention"), "mean_keys": keys.mT})


def select(case):
    dominant, contextual = case.params["dominant"], case.params["contextual"]
    share = {"use": "equal", "merged": contextual / (dominant + contextual)}
    return load("visionzip", budget=dominant + contextual, splitter=share).select(tokens_of(case))


def homes(selection, case):
    """[B, 1 + N] the contextual token that each token is folded into, as recorded; -1: none, or it is the CLS token."""
    batch, count = selection.mask.shape
    found = torch.full((batch * count,), -1)
    merge = selection.merge
    real = merge.weight != 0
    nth = selection.merged.cumsum(1).flatten() - 1
    found[merge.source[real]] = nth[merge.target[real]]
    return torch.nn.functional.pad(found.view(batch, count), (1, 0), value=-1)


def wanted(case):
    """[B, 1 + N] bool: dominants, centres."""
    masks = []
    for name in ("topk_order", "contextual_centres"):
        index = torch.from_numpy(case.arrays[name]).long()
        shape = case.input("metric").shape[:2]
        masks.append(torch.zeros(shape, dtype=torch.bool).scatter_(1, index, True)[:, 1:])
    return masks


def same(case):
    """Whether the choice and the assignment are the recorded ones."""
    selection, (dominant, centres) = select(case), wanted(case)
    assign = torch.from_numpy(case.arrays["assign"]).long()
    chosen = torch.equal(selection.important, dominant) and torch.equal(selection.merged, centres)
    return chosen and torch.equal(homes(selection, case), assign)


def same_vectors(case):
    """The tokens that stay, and their vectors to a millionth."""
    selection, (dominant, centres) = select(case), wanted(case)
    hidden = case.input("hidden")[:, 1:]
    new = hidden if selection.merge is None else selection.merge.apply(hidden.flatten(0, 1)).view_as(hidden)
    alike = torch.equal(selection.mask, dominant | centres)
    for nth, row in enumerate(new.double()):
        found = torch.cat([row[dominant[nth]], row[centres[nth]]])
        size = found.norm(dim=-1)
        for key, sums in (
            ("row_sum", found.sum(-1)),
            ("row_dot", found @ torch.arange(1.0, hidden.shape[2] + 1).double()),
        ):
            recorded = torch.from_numpy(case.arrays[key])[nth, 1:]  # without the CLS token
            scale = size * hidden.shape[2] ** (0.5 if key == "row_sum" else 1.5)
            alike &= bool(((sums - recorded).abs() <= 1e-6 * scale).all())
    return alike


FIDELITY = Fidelity(
    "visionzip",
    pipelines=("visionzip",),
    licence="Apache-2.0",
    checks={
        "dominant tokens, centres, and who is folded into which": (lambda name: same(CASES[name]), FOLDED),
        "the vectors that come out, to a millionth": (lambda name: same_vectors(CASES[name]), KEPT),
    },
    deviations=(
        "The CLS token is not handed on, as LLaVA does not hand it on without pruning.",
        "A contextual token stands where its centre stood. The released code puts them behind all others.",
        "Asked for as many tokens as there are, or more, nothing changes. The released code adds nothing to each "
        "centre there, or fails.",
    ),
)


def test_all_cases_are_there():
    assert (len(CASES), len(KEPT), len(FOLDED)) == (22, 18, 14)
    assert all(case.exact for case in CASES.values())


@pytest.mark.parametrize("name", FOLDED)
def test_chooses_and_assigns_what_the_released_code_did(name):
    assert FIDELITY.holds("dominant tokens, centres, and who is folded into which", name)


@pytest.mark.parametrize("name", KEPT)
def test_the_vectors_are_those_of_the_released_code(name):
    assert FIDELITY.holds("the vectors that come out, to a millionth", name)


@pytest.mark.parametrize("name", sorted(CASES.keys() - KEPT.keys()))
def test_goes_on_where_the_released_code_fails(name):
    case = CASES[name]
    selection = select(case)
    assert selection.counts.tolist() == [min(144, sum(case.params.values()))] * 2
    assert case.expect["official"]["raises"] in ("RuntimeError", "ZeroDivisionError")
    assert not selection.merged.any()


def opposed(tokens, by, targets, most):
    """Everything but the targets is turned round."""
    x = tokens.cue(by)
    return TRUE(replace(tokens, cues={**tokens.cues, by: x.where(targets[:, None], -x)}), by, targets, most)


MISTAKES = {
    "centres are the first of the rest": (
        nearest,
        "evenly",
        lambda free, tokens, split: free & (free.cumsum(1) <= split.merged[:, None]),
    ),
    "to the first centre": (
        nearest,
        "nearest",
        lambda tokens, by, targets, most: targets.byte().argmax(1, keepdim=True).expand(targets.shape),
    ),
    "to the least similar": (nearest, "nearest", opposed),
    "to the longest product": (space, "similarity_space", lambda *asked: VECTORS(*asked) * LONG),
}
TRUE, VECTORS, LONG = nearest.nearest, space.similarity_space, 1 + torch.arange(144.0)[:, None]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed(mistake, monkeypatch):
    assert all(same(CASES[name]) for name in FEW)
    monkeypatch.setattr(*MISTAKES[mistake])
    assert not all(same(CASES[name]) for name in FEW)
