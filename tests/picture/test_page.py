import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tokenprune.drawing import drawn, ranks
from tokenprune.notebook import receipt_html
from tokenprune.page import MOST, inlined, page
from tokenprune.page.items import Question, Run, Shown, digits, item
from tokenprune.placement import Placement
from tokenprune.receipt import ImageReceipt, Receipt
from tokenprune.spots import Spots


@pytest.fixture
def one():
    """Two rows of two tokens: an important one, a dropped one; a diverse one, a carrier."""
    row, cell = torch.tensor([0, 0, 1, 1]), torch.tensor([[0, 0], [0, 1]] * 2)
    flags = torch.tensor([True, False])
    spots = Spots(row, cell, torch.tensor([[1, 2], [1, 2]]), flags, flags & False)
    kept = torch.tensor([0, 2, 3])
    return ImageReceipt(0, 4, 3, kept, kept[:1], kept[1:2], kept[2:], (1, 2), None, "image", spots)


PLACED = Placement(((0.0, 0.0, 40.0, 20.0), (0.0, 0.0, 40.0, 30.0)), (True, False), "roughly")


def test_an_item_is_what_the_receipt_says(one):
    made = item(
        "cat",
        Image.new("RGB", (40, 30)),
        PLACED,
        [Shown("mine", [Run(one, ["a"])], torch.tensor([1.0, 5, 2, 2]))],
        [Question("what?", "a", "b")],
    )
    assert made["tokens"] == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]
    assert made["rows"][0] == {"grid": [1, 2], "box": [0, 0, 40, 20], "again": True}
    assert made["note"] == "roughly"
    assert made["questions"] == [{"text": "what?", "full": "a", "expected": "b"}]
    (pipeline,) = made["pipelines"]
    assert pipeline["runs"][0]["kept"] == digits(one) == "2034"
    assert pipeline["runs"][0]["counts"] == {2: 1, 3: 1, 4: 1}
    assert pipeline["scores"] == [0, 1, 0.5, 0.5]


def test_no_text_ends_the_element_it_stands_in():
    evil = "</script><script>alert(1)</script>"
    text = page(evil, evil, {evil: evil}, [evil], [])
    assert "<script>alert" not in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(data)["lead"] == evil


def test_small_pictures_are_inlined_exactly_and_large_ones_small(tmp_path):
    assert inlined(Image.new("RGB", (300, 200))).startswith("data:image/png;base64,")
    noise = np.random.default_rng(0).integers(0, 255, (1500, 3000, 3), dtype=np.uint8)
    large = inlined(Image.fromarray(noise))
    assert large.startswith("data:image/jpeg;base64,")
    assert len(large) < 4 * MOST**2


@pytest.mark.parametrize(
    ("scores", "want"),
    [([3, 1, 2], [1, 0, 0.5]), ([1, 1], [0, 0]), ([float("-inf"), 0, 5, 5], [0, 0.5, 1, 1]), ([], [])],
)
def test_ranks(scores, want):
    assert ranks(scores).tolist() == want


def test_a_thumbnail_stands_below_its_picture(one):
    image = Image.new("RGB", (120, 90), (200, 0, 0))
    placement = Placement(((0.0, 0.0, 120.0, 90.0), (0.0, 0.0, 120.0, 90.0)), (True, False), "")
    pixels = np.asarray(drawn(image, one, placement, "mine")).astype(int)
    red = pixels.max(-1) - pixels.min(-1) > 150
    assert red[45, 30]  # both tokens of the crop stay
    assert red[45, 90]
    small = red[98:128, :40]
    assert small[15, 10]  # of the thumbnail the left one
    assert not small[15, 30]


def test_what_cannot_be_placed_is_shown_in_grey_and_said(one):
    image = Image.new("RGB", (200, 150), (200, 0, 0))
    picture = drawn(image, one, Placement((None, None), (False, False), "not drawn: no place"), "mine")
    pixels = np.asarray(picture)[:150, :200].astype(int)
    assert (pixels.max(-1) == pixels.min(-1)).all()
    assert picture.height > 200  # the count, the reasons, and why


def test_a_receipt_in_a_notebook(one):
    receipt = Receipt(
        "<mine>", "Model", [torch.arange(5)], 6, [one], "3", 3, 0, (), "encoder", "keep", 0, {"select": 1.0}
    )
    text = receipt_html(receipt)
    assert text == receipt._repr_html_()
    assert "&lt;mine&gt; on Model: 3 of 4 tokens (75.0 %)" in text
    assert re.findall(r"<td>(.*?)</td>", text) == ["0", "4", "3", "75.0 %", "1", "1", "1", "1 2"]
    assert text.count("<th scope=col>") == 9
