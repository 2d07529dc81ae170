"""Crops with an overview: which rows are overviews, and what stays between them."""

import pytest
import torch
from families import crops, tiny

import tokenprune
from tokenprune.encode import encode
from tokenprune.family import family_of

SIDES = {crops.llava_next: [[crops.WIDE, crops.FLAT], [crops.HIGH]], crops.llava_onevision: crops.ONE}


@pytest.fixture(params=SIDES)
def asked(request):
    """A model, its call and its images."""
    model, images = request.param(), SIDES[request.param]
    inputs = crops.packed(images, count_images=request.param is crops.llava_onevision)
    return model, inputs(model, range(len(images))), [one for prompt in images for one in prompt]


def test_first_row_of_each_image_is_its_overview(asked):
    model, call, images = asked
    placeholder = call["input_ids"] == tiny.IMAGE
    pipeline = tokenprune.load("divprune")
    with torch.no_grad():
        tokens = encode(family_of(model), model, call, pipeline, call["input_ids"], placeholder).tokens
    expected = [flag for one in images for flag in [True, *[False] * (one.count - 1)]]
    assert tokens.overview.tolist() == expected
    assert tokens.group.tolist() == [at for at, one in enumerate(images) for _ in range(one.count)]


def test_every_newline_stays_and_the_budget_is_of_tokens_that_arrive(asked):
    model, call, images = asked
    with tokenprune.attach(model, "vispruner", budget=7) as pruned:
        model.generate(**call, max_new_tokens=1)
    lines = [one.canvas[0] if one.crops else 1 for one in images]
    assert pruned.receipt.separators == sum(lines)
    assert [image.after for image in pruned.receipt.images] == [7] * len(images)
    assert [image.before for image in pruned.receipt.images] == [
        one.rows - count for one, count in zip(images, lines, strict=True)
    ]


def test_rows_of_a_shrunk_image_are_its_overview_and_its_map():
    image = crops.Image((40, 40), (2, 2), (10, 10), shrunk=(5, 5))
    model = crops.llava_onevision(1)
    call = crops.packed([[image]], count_images=True)(model, [0])
    pipeline = tokenprune.load("vispruner")
    with torch.no_grad():
        encoded = encode(family_of(model), model, call, pipeline, call["input_ids"], call["input_ids"] == tiny.IMAGE)
    tokens = encoded.tokens
    assert tokens.counts.tolist() == [25, 25]
    assert tokens.overview.tolist() == [True, False]
    assert tokens.grid == (5, 5)
    assert encoded.index.tolist() == [
        *range(25),
        *(one for y in range(5) for one in (*range(25 + 5 * y, 30 + 5 * y), -1)),
    ]
