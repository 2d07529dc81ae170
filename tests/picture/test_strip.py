from dataclasses import replace

import numpy as np
import pytest
import torch

import tokenprune
from tokenprune import scenes
from tokenprune.cli.asking import read
from tokenprune.drawing import whys
from tokenprune.painting import Why
from tokenprune.scores import scores_of
from tokenprune.strip import strip_of

INSIDE = [{"site": {"llm_layer": at}, "scorer": "random", "budget": budget} for at, budget in ((2, "25%"), (7, "10%"))]


@pytest.fixture(scope="module")
def asked():
    model, processor = scenes.load()
    inputs = read(model, processor, scenes.draw(0).image, "What color is the star?")

    def ask(*stages, budget=None):
        with tokenprune.attach(model, {"name": "mine", "stages": [*stages], "budget": budget}) as attached:
            model.generate(**inputs, max_new_tokens=1)
        return attached.receipt

    return ask


def test_every_run_of_layers_is_a_picture(asked):
    receipt = asked({"scorer": "cls_attention", "splitter": "equal", "budget": "50%"}, *INSIDE)
    (first, before), (second, middle), (third, last) = strip_of(receipt)
    assert [first, second, third] == ["layers 0 to 1", "layers 2 to 6", "layer 7"]
    assert before is receipt.images[0]
    assert [before.after, middle.after, last.after] == [128, 64, 26]
    for one, layer in zip((middle, last), receipt.layers, strict=True):
        assert one.kept.tolist() == layer.kept[0].tolist()
        assert one.important.tolist() == one.kept.tolist()  # a token that stays stays important
        assert set(one.kept.tolist()) <= set(before.important.tolist())


def test_where_nothing_was_chosen_before_nothing_is_said_of_why(asked):
    strip = strip_of(asked(*INSIDE))
    assert [one.after for _, one in strip] == [256, 64, 26]
    for _, one in strip:
        why = whys(one)
        assert (why == Why.KEPT).sum() == one.after
        np.testing.assert_array_equal(np.flatnonzero(why), one.kept)


def test_diverse_and_merged_ones_stay_what_they_are(asked):
    receipt = asked({"scorer": "cls_attention", "splitter": "equal", "budget": "50%"}, *INSIDE)
    one = receipt.images[0]
    third = one.kept[::3]
    rest = one.kept[~torch.isin(one.kept, third)]
    mixed = replace(receipt, images=[replace(one, important=rest, diverse=third[::2], merged=third[1::2])])
    for _, image in strip_of(mixed)[1:]:
        assert set(image.diverse.tolist()) == set(third[::2].tolist()) & set(image.kept.tolist())
        assert set(image.merged.tolist()) == set(third[1::2].tolist()) & set(image.kept.tolist())
        assert len(image.important) + len(image.diverse) + len(image.merged) == image.after


def test_without_such_stages_there_is_no_strip(asked):
    assert strip_of(asked({"scorer": "cls_attention", "splitter": "equal"}, budget=9)) == []


def test_a_scorer_inside_the_language_model_has_no_scores_to_show():
    model, processor = scenes.load()
    inputs = read(model, processor, scenes.draw(0).image, "What color is the star?")
    pipeline = tokenprune.load({"name": "mine", "stages": INSIDE, "budget": None})
    assert scores_of(model, inputs, pipeline) is None
