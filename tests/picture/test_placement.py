"""Boxes of tokens, against the pixels that they saw: by derivatives through tiny models, and through real processors.

Every pixel of an image is given a number, which goes through the processor unchanged because that resizes by taking the
nearest pixel. With the identity in place of attention a token depends on its own pixels only, so derivatives say which
numbers each token saw.
"""

from dataclasses import dataclass
from importlib import import_module
from math import floor
from typing import Any

import numpy as np
import pytest
import torch
from families import crops, native, tiles
from families.tiny import BEGIN, BOS, END, IMAGE
from PIL import Image

import tokenprune
from tokenprune.drawing import layers_of
from tokenprune.encode import encode
from tokenprune.family import family_of
from tokenprune.painting import Why
from tokenprune.picture import clip_box, laid_over
from tokenprune.placement import placed
from tokenprune.spots import Spots
from tokenprune.testing.family.origin import features, origin_of
from tokenprune.testing.family.subject import Subject

NUMBERS = {"resample": Image.Resampling.NEAREST, "do_rescale": False, "do_normalize": False}


def processor(name, **settings):
    module = import_module(f"transformers.models.{name}.image_processing_pil_{name}")
    (found,) = (one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__ and
                isinstance(one, type) and one.__name__.endswith("ImageProcessorPil"))  # fmt: skip
    return found(**settings)


def square(side):
    return {"height": side, "width": side}


@dataclass(frozen=True)
class Way:
    """A tiny model, a processor for it by name and settings, and the pixels along a side of a token."""

    build: Any
    name: str
    settings: dict
    cell: int

    def process(self, image, **changes):
        made = dict(processor(self.name, **self.settings, **changes)(images=[image], return_tensors="pt"))
        return {name: value for name, value in made.items() if name not in ("num_patches", "rows", "cols")}


CLIP = {"size": {"shortest_edge": 24}, "crop_size": square(24)}
NEXT = {"size": {"shortest_edge": 20}, "crop_size": square(20), "image_grid_pinpoints": crops.PINS}
QWEN = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 64, "max_pixels": 4096}
INTERN = {"size": square(24), "crop_to_patches": True, "min_patches": 1, "max_patches": 6}
IDEFICS = {"size": {"longest_edge": 48}, "max_image_size": {"longest_edge": 24}}
PADDLE = {"patch_size": 4, "merge_size": 2, "min_pixels": 64, "max_pixels": 4096}
PIXTRAL = {"size": {"longest_edge": 48}, "patch_size": square(4)}
ONEVISION = {"size": square(20), "image_grid_pinpoints": crops.PINS}
WAYS = {
    "centre crop": Way(tiles.llava, "clip", CLIP, 4),
    "pad to a square": Way(tiles.llava, "llava", {**CLIP, "do_pad": True}, 4),
    "AnyRes": Way(crops.llava_next, "llava_next", NEXT, 4),
    "tiles and a thumbnail": Way(tiles.internvl, "got_ocr2", INTERN, 8),
    "tiles and the whole": Way(tiles.idefics3, "idefics3", IDEFICS, 8),
    "blocks of patches": Way(native.qwen2_vl, "qwen2_vl", QWEN, 8),
    "blocks in windows": Way(native.qwen2_5_vl, "qwen2_vl", QWEN, 8),
    "patches in reading order": Way(native.paddleocr_vl, "paddleocr_vl", PADDLE, 8),
    "its own size": Way(native.pixtral, "pixtral", PIXTRAL, 4),
    "squeezed": Way(tiles.gemma3, "gemma3", {"size": square(24)}, 8),
    "AnyRes without CLS": Way(crops.llava_onevision, "llava_onevision", ONEVISION, 4),
}
SIZES = [(46, 30), (31, 47), (96, 48)]
TWICE = [
    (48, 24),
    (24, 48),
    (48, 48),
]  # of a processor that resizes twice; the nearest of the nearest is not the nearest
ONCE = ("patches in reading order", "its own size", "squeezed", "AnyRes without CLS")  # as others are laid out
CASES = [
    (name, size)
    for name in WAYS
    for size in (TWICE if name == "tiles and the whole" else SIZES[:1] if name in ONCE else SIZES)
]


def numbered(way, size):
    """[P] the number of the pixel, counted from one, behind each value of the processor's output; 0: padding."""
    number = np.arange(1, size[0] * size[1] + 1).reshape(size[1], size[0])
    digits = []
    for shift in (0, 8):
        grey = (number >> shift & 255).astype(np.uint8)
        digits.append(
            way.process(Image.fromarray(np.stack([grey] * 3, -1)), **NUMBERS)["pixel_values"].flatten().numpy()
        )
    found = digits[0].astype(int) + 256 * digits[1].astype(int)
    return np.where(found > number.max(), 0, found)


def asked(way, size):
    """A model, inputs for one image of that size, and what each of its tokens depends on, [n, P] bool."""
    model = way.build()
    call = way.process(Image.new("RGB", size, (90, 120, 200)))
    call = {name: torch.as_tensor(value) for name, value in call.items() if name != "pixel_attention_mask"}
    family = family_of(model)
    rows = len(features(Subject(model, None, (0,), None, None, memo={"shown": family}), call))
    ids = torch.tensor([[BOS, BEGIN, *[IMAGE] * rows, END, 7]])
    call |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "image_grid_thw" in call:
        call["mm_token_type_ids"] = (ids == IMAGE).long()
    depends = origin_of(Subject(model, lambda *_: call, (0,), None, None), call).pixels
    index = encode(family, model, call, tokenprune.load("divprune"), ids, ids == IMAGE).index
    token = index[index >= 0]
    return model, call, depends[index >= 0][token.argsort()]


def receipt_of(model, call, **changes):
    with tokenprune.attach(model, "divprune", **changes) as pruned, torch.no_grad():
        model(**call)
    return pruned.receipt


def within(start, stop, cell, length, tie):
    """Pixels that a cell of so many processed pixels takes, each the nearest; at a tie the one before or after."""
    points = (start + (at + 0.5) * (stop - start) / cell for at in range(cell))
    return {floor(point + tie) for point in points} & set(range(length))


def boxes(one, placement):
    """(left, top, right, bottom) of each token."""
    found = []
    for row, (y, x) in zip(one.spots.row.tolist(), one.spots.cell.tolist(), strict=True):
        left, top, right, bottom = placement.boxes[row]
        height, width = one.spots.grid[row].tolist()
        w, h = (right - left) / width, (bottom - top) / height
        found.append((left + x * w, top + y * h, left + (x + 1) * w, top + (y + 1) * h))
    return found


@pytest.mark.parametrize(("name", "size"), CASES, ids=str)
def test_a_box_covers_exactly_the_pixels_that_its_token_saw(name, size):
    way = WAYS[name]
    model, call, depends = asked(way, size)
    number = numbered(way, size)
    one = receipt_of(model, call, budget="40%").images[0]
    placement = placed(way.process, size, one.spots)
    assert placement.note == ""
    assert len(depends) == one.before
    every = boxes(one, placement)
    for token in one.kept.tolist():
        left, top, right, bottom = every[token]
        saw = set(number[depends[token]].tolist()) - {0}
        either = []
        for tie in (-1e-6, 1e-6):
            xs, ys = within(left, right, way.cell, size[0], tie), within(top, bottom, way.cell, size[1], tie)
            either.append((xs, ys))
        (xs, ys), (more_xs, more_ys) = either
        assert saw <= {1 + y * size[0] + x for y in ys | more_ys for x in xs | more_xs}
        assert saw >= {1 + y * size[0] + x for y in ys & more_ys for x in xs & more_xs}


@pytest.mark.parametrize(
    "name", ["centre crop", "pad to a square", "AnyRes", "tiles and a thumbnail", "blocks in windows"]
)
def test_a_checkerboard_of_tokens_comes_back(name):
    """Through the tokens of a receipt onto the image: what is in colour is what the kept tokens saw."""
    way, size = WAYS[name], SIZES[0]
    model, call, depends = asked(way, size)
    number = numbered(way, size)
    one = receipt_of(model, call, budget="100%").images[0]
    chosen = one.spots.cell.sum(-1) % 2 == 0
    placement = placed(way.process, size, one.spots)
    layers = layers_of(one, placement, np.where(chosen.numpy(), Why.KEPT, Why.DROPPED))
    main = [layer for layer, again in zip(layers, placement.overview, strict=True) if not again]
    mine = torch.tensor([not placement.overview[row] for row in one.spots.row.tolist()])
    picture = np.asarray(laid_over(Image.new("RGB", size, (200, 0, 0)), main)).astype(int)
    bright = (picture.max(-1) > 100).flatten()  # in colour, or in its frame
    seen, unseen = (set(number[depends[which & mine].any(0)].tolist()) - {0} for which in (chosen, ~chosen))
    inner = seen - unseen  # a pixel on a border may be seen by both
    assert len(inner) > 100
    assert {at - 1 for at in inner} <= set(np.flatnonzero(bright).tolist())
    assert not bright[[at - 1 for at in unseen - seen]].any()


NEXT_336 = {"size": {"shortest_edge": 336}, "crop_size": square(336)}
LARGE = [
    ("clip", NEXT_336, [(24, 24)], (701, 480), [clip_box((701, 480))]),
    ("clip", {"size": {"shortest_edge": 250}, "crop_size": square(224)}, [(16, 16)], (500, 500), [(26, 26, 474, 474)]),
    ("siglip", {"size": square(384)}, [(27, 27)], (1000, 700), [(0, 0, 1000 * 378 / 384, 700 * 378 / 384)]),
    (
        "llava_next",
        NEXT_336,
        [(24, 24)] * 5,
        (1000, 700),
        [
            (0, 0, 1000, 700),
            *((x, y, x + 500, y + 336 * 700 / 471) for y in (-70000 / 471, 236 * 700 / 471) for x in (0, 500)),
        ],
    ),
    (
        "got_ocr2",
        {"size": square(448), "crop_to_patches": True, "max_patches": 12},
        [(16, 16)] * 7,
        (1000, 700),
        [*((x / 3, y, x / 3 + 1000 / 3, y + 350) for y in (0, 350) for x in (0, 1000, 2000)), (0, 0, 1000, 700)],
    ),
    ("qwen2_vl", {}, [(25, 36)], (1000, 700), [(0, 0, 1000, 700)]),
]


@pytest.mark.parametrize(("name", "settings", "grids", "size", "want"), LARGE)
def test_boxes_of_real_sizes_with_real_filters(name, settings, grids, size, want):
    flags = torch.tensor([name == "llava_next" and at == 0 for at in range(len(grids))])
    spots = Spots(torch.zeros(0), torch.zeros(0, 2), torch.tensor(grids), flags, flags & False, (14, 14))
    found = placed(lambda image: processor(name, **settings)(images=[image], return_tensors="pt"), size, spots)
    assert found.boxes == pytest.approx([pytest.approx(box, abs=0.01) for box in want])
    assert found.overview == tuple(len(want) > 1 and box == (0, 0, *size) for box in want)


def test_what_a_block_changes_lies_under_its_token():
    """Pixels well inside a box change its patch and no other of its row; so do pixels far from a border."""
    process = lambda image: processor("llava_next", **NEXT_336)(images=[image], return_tensors="pt")  # noqa: E731
    size, flags = (1000, 700), torch.tensor([True, False, False, False, False])
    spots = Spots(torch.zeros(0), torch.zeros(0, 2), torch.tensor([(24, 24)] * 5), flags, flags & False, (14, 14))
    boxes = placed(process, size, spots).boxes
    pixels = np.random.default_rng(0).integers(0, 255, (700, 1000, 3), dtype=np.uint8)
    before = process(Image.fromarray(pixels))["pixel_values"][0]
    for row, y, x in [(1, 12, 3), (2, 23, 23), (3, 0, 11), (4, 5, 20)]:
        left, top, right, bottom = boxes[row]
        w, h = (right - left) / 24, (bottom - top) / 24
        inner = (
            slice(round(top + y * h) + 4, round(top + (y + 1) * h) - 4),
            slice(round(left + x * w) + 4, round(left + (x + 1) * w) - 4),
        )
        changed = pixels.copy()
        changed[inner] ^= 128
        differs = (process(Image.fromarray(changed))["pixel_values"][0] != before).any(1)  # [5, 336, 336]
        cells = differs.view(5, 24, 14, 24, 14).any(4).any(2)
        assert [(r, *cell) for r in range(1, 5) for cell in cells[r].nonzero().tolist()] == [(row, y, x)]


class TestNotKnown:
    def say(self, process, grids=((2, 2),), size=(40, 20)):
        flags = torch.zeros(len(grids), dtype=torch.bool)
        return placed(process, size, Spots(torch.zeros(0), torch.zeros(0, 2), torch.tensor(grids), flags, flags))

    def test_tokens_without_a_place(self):
        found = placed(lambda image: {}, (40, 20), None)
        assert found.boxes == (None,)
        assert found.note == "not drawn: its tokens have no place, each looks at the whole image"

    @pytest.mark.parametrize(
        ("process", "why"),
        [
            (lambda a: {"pixel_values": a[0].reshape(-1, 16)}, "gives 50 patches, and 4 tokens are no squares of them"),
            (lambda a: {"pixel_values": np.flip(a, 2)[None]}, "more than resize, crop, pad and cut"),
            (lambda a: {"pixel_values": a[:, :19][None]}, "2 tokens do not divide 19 pixels"),
            (lambda a: {}, "gives 0 tensors of pixels"),
            (lambda a: {"pixel_values": a[None], "pixel_values_more": a[None]}, "gives two tensors of pixels"),
        ],
    )
    def test_pixels_that_are_handed_on_in_some_other_way(self, process, why):
        def processed(image):
            return process(np.asarray(image).astype(np.float32).transpose(2, 0, 1))

        found = self.say(processed)
        assert found.boxes == (None,)
        assert found.note.startswith("not drawn on the picture: ")
        assert why in found.note
