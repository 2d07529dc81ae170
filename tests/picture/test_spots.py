"""Cells of crops, against where their pixels were laid by hand."""

import pytest
import torch
from families import cases

import tokenprune
from tokenprune.scores import scores_of


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision, shrunk", "step3p7", "molmo2", "llava", "internvl"])
def test_every_token_has_a_cell_of_its_own(name):
    case = cases.CASES[name]
    model = case.build()
    with tokenprune.attach(model, "divprune", budget=5) as pruned, torch.no_grad():
        model(**case.inputs(model, case.prompts))
    for one in pruned.receipt.images:
        spots = one.spots
        assert len(spots.row) == len(spots.cell) == one.before
        assert len(spots.grid) == len(spots.overview) == len(one.rows)
        assert bool((spots.cell >= 0).all() and (spots.cell < spots.grid[spots.row]).all())
        assert len({(*cell,) for cell in torch.cat([spots.row[:, None], spots.cell], 1).tolist()}) == one.before
        assert bool(spots.joined.any()) == (name in ("llava_onevision, shrunk", "molmo2") and len(one.rows) == 2 and
                                             int(spots.grid[1].prod()) > int(spots.grid[0].prod()))  # fmt: skip


def test_a_resampler_has_none():
    case = cases.CASES["idefics2"]
    model = case.build()
    with tokenprune.attach(model, "divprune", budget=2) as pruned, torch.no_grad():
        model(**case.inputs(model, case.prompts))
    assert all(one.spots is None for one in pruned.receipt.images)


@pytest.mark.parametrize("name", ["llava", "llava_next"])
def test_scores_count_tokens_as_the_receipt_does(name):
    case = cases.CASES[name]
    model = case.build()
    inputs = case.inputs(model, case.prompts)
    pipeline = tokenprune.load("fastervlm", budget="3 per row")
    scores = scores_of(model, inputs, pipeline)
    with tokenprune.attach(model, pipeline) as pruned, torch.no_grad():
        model(**inputs)
    for one, mine in zip(pruned.receipt.images, scores, strict=True):
        assert len(mine) == one.before
        for row in range(len(one.rows)):
            here = (one.spots.row == row).nonzero()[:, 0]
            best = here[mine[here].topk(3).indices].sort().values
            assert best.tolist() == [at for at in one.kept.tolist() if at in set(here.tolist())]


def test_no_scorer_no_scores():
    case = cases.CASES["llava"]
    model = case.build()
    assert scores_of(model, case.inputs(model, case.prompts), tokenprune.load("divprune")) is None
