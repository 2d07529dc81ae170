"""The picture of a receipt: the right cells of the right image, in colour."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from attach import tiny
from PIL import Image

import tokenprune

CELL = 20


@pytest.fixture
def picture():
    """Red all over, as large as a multiple of the grid."""
    return Image.new("RGB", (tiny.SIDE * CELL, tiny.SIDE * CELL), (200, 0, 0))


def ran(model, inputs, pipeline="vispruner", **changes):
    with tokenprune.attach(model, pipeline, **changes) as pruned, torch.no_grad():
        model(**inputs)
    return pruned.receipt


def coloured(drawn):
    """Cells whose middle is not grey."""
    pixels = np.asarray(drawn)[: tiny.SIDE * CELL, : tiny.SIDE * CELL]
    middles = pixels[CELL // 2 :: CELL, CELL // 2 :: CELL].astype(int)
    return np.flatnonzero(middles.max(-1) - middles.min(-1) > 50).tolist()


@pytest.mark.parametrize("index", [0, 1, 2, -1])
def test_kept_cells_are_in_colour(model, picture, index):
    receipt = ran(model, tiny.prompts(model, (2, 1)), budget=9)
    before = picture.tobytes()
    drawn = receipt.overlay(picture, index)
    assert isinstance(drawn, Image.Image)
    assert coloured(drawn) == receipt.images[index].kept.tolist()
    assert picture.tobytes() == before


@pytest.mark.parametrize(("budget", "count"), [("0%", 0), ("100%", 36)])
def test_none_and_all(model, inputs, picture, budget, count):
    assert len(coloured(ran(model, inputs, budget=budget).overlay(picture))) == count


def test_a_class_token_moves_nothing(build, picture):
    model = build("llava_full")
    receipt = ran(model, tiny.prompts(model), budget=9)
    assert coloured(receipt.overlay(picture)) == receipt.images[0].kept.tolist()


def test_a_box_says_what_the_model_saw(model, inputs, picture):
    receipt = ran(model, inputs, budget=36)
    half = receipt.overlay(picture, box=(0, 0, tiny.SIDE * CELL, tiny.SIDE * CELL / 2))
    assert coloured(half) == list(range(18))


def test_a_patch_that_never_arrives_is_no_token(build, picture):
    model = build("llava_siglip")
    ids = torch.tensor([[1, *[tiny.IMAGE] * 35, 5]])
    receipt = ran(
        model,
        {"input_ids": ids, "pixel_values": tiny.pixels(1), "vision_feature_select_strategy": "default"},
        budget="100%",
    )
    drawn = receipt.overlay(picture)
    assert coloured(drawn) == list(range(1, 36))
    assert np.asarray(drawn)[5, 5].max() < np.asarray(drawn.convert("L"))[5, 25]


def test_tokens_without_a_place_are_refused(model, inputs, picture):
    receipt = ran(model, inputs)
    bare = replace(receipt, images=[replace(receipt.images[0], spots=None)])
    with pytest.raises(ValueError, match="its model resamples it, so they have no place; say processor="):
        bare.overlay(picture)


def test_an_image_that_is_not_there(model, inputs, picture):
    with pytest.raises(IndexError):
        ran(model, inputs).overlay(picture, 3)
