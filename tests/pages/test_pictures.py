"""The pictures of the pages are what the code draws."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from pages import document, drawing
from PIL import Image


@pytest.fixture(scope="module")
def drawn():
    return document.drawn()


@pytest.mark.parametrize("name", ["kept.png", "methods.png"])
def test_a_picture_is_current(drawn, name):
    with Image.open(document.PICTURES / name) as picture:
        there, now = np.asarray(picture.convert("RGB"), int), np.asarray(drawn[name], int)
    assert there.shape == now.shape, "python tests/pages/document.py"
    assert (abs(there - now) > 8).mean() < 0.001, (
        "python tests/pages/document.py"
    )  # fonts and resizing differ by a hair


def test_every_picture_is_drawn(drawn):
    assert {path.name for path in document.PICTURES.iterdir()} == {*drawn, "data-path.svg"}


def test_the_drawing_is_current():
    assert (document.PICTURES / "data-path.svg").read_text() == drawing.data_path(), "python tests/pages/document.py"


def test_words_of_the_drawing_stay_in_their_boxes():
    root, svg = ET.fromstring(drawing.data_path()), "{http://www.w3.org/2000/svg}"
    boxes = [{k: float(v) for k, v in one.attrib.items() if k in ("x", "y", "width", "height")}
             for one in root.iter(f"{svg}rect") if "stroke" in one.attrib]  # fmt: skip
    inside = [
        one for one in root.iter(f"{svg}text") if one.attrib["text-anchor"] == "middle" and float(one.get("y")) != 342
    ]
    assert len(inside) == 2 * len(boxes)
    for word in inside:
        x, y, wide = float(word.get("x")), float(word.get("y")), 0.58 * float(word.get("font-size")) * len(word.text)
        (box,) = [b for b in boxes if abs(x - b["x"] - b["width"] / 2) < 1 and b["y"] < y < b["y"] + b["height"]]
        assert wide <= box["width"], word.text
