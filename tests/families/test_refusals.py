from dataclasses import replace
from importlib import import_module

import pytest
import torch
from families import cases, crops, native, sized, tiles

import tokenprune
from tokenprune.errors import MissingCue, UnprunedInputWarning, UnsupportedMode
from tokenprune.family import family_of

GRID = (2, 4, 4)  # frames, and patches of each


@pytest.fixture
def qwen(monkeypatch):
    """A model whose family says nothing of videos."""
    for name in ("tokenprune.attach", "tokenprune.inputs"):
        monkeypatch.setattr(import_module(name), "family_of", lambda model: replace(family_of(model), video=None))
    return native.qwen2_vl()


@pytest.fixture
def video(qwen):
    """One prompt with an image and a video."""
    call = native.patches(qwen, [1])
    frames = native.noise(32, 96, seed=5)
    marks = [native.BEGIN, *[native.VIDEO] * 8, native.END]
    ids = torch.tensor([[*call["input_ids"][0].tolist(), *marks, 7, 8]])
    kinds = (ids == native.IMAGE).long() + 2 * (ids == native.VIDEO).long()
    call |= {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": kinds}
    return {**call, "pixel_values_videos": frames, "video_grid_thw": torch.tensor([GRID])}


def test_video_passes_unpruned_and_is_said(qwen, video):
    with torch.no_grad():
        plain = qwen(**video).logits
    with (
        tokenprune.attach(qwen, "divprune", budget=2) as pruned,
        pytest.warns(UnprunedInputWarning, match="video"),
        torch.no_grad(),
    ):
        logits = qwen(**video).logits
    assert torch.equal(logits, plain)
    assert pruned.receipt is None


def test_video_without_image_is_said_too(qwen, video):
    ids = video["input_ids"][:, -12:]
    alone = {
        **{name: video[name] for name in ("pixel_values_videos", "video_grid_thw")},
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": 2 * (ids == native.VIDEO).long(),
    }
    plain = qwen.generate(**alone, max_new_tokens=3)
    with (
        tokenprune.attach(qwen, "divprune", budget=2),
        pytest.warns(UnprunedInputWarning, match="video"),
    ):
        assert torch.equal(qwen.generate(**alone, max_new_tokens=3), plain)


def test_video_is_refused_by_prune_inputs(qwen, video):
    with pytest.raises(UnsupportedMode, match="videos of Qwen2VL"):
        tokenprune.prune_inputs(qwen, video, "divprune", positions="renumber")


@pytest.mark.parametrize("build", [tiles.llava, crops.llava_next, native.qwen2_vl])
def test_wrong_number_of_placeholders_is_refused(build):
    model = build()
    case = {tiles.llava: "llava", crops.llava_next: "llava_next", native.qwen2_vl: "qwen2_vl"}[build]
    call = {**tiles.CASES, **crops.CASES, **native.CASES}[case].inputs(model, [1])
    at = int((call["input_ids"][0] == native.IMAGE).nonzero()[0])
    call["input_ids"][0, at] = 9
    with (
        tokenprune.attach(model, "divprune", budget=2),
        pytest.raises(tokenprune.TokenpruneError, match="placeholders"),
    ):
        model(**call)


@pytest.mark.parametrize("pipeline", ["vispruner", "fastervlm"])
def test_cue_of_an_encoder_without_attention_is_refused_with_what_works(pipeline):
    model = tiles.got_ocr2()
    with pytest.raises(MissingCue, match="divprune"):
        tokenprune.attach(model, pipeline)


@pytest.mark.since(cases.EVERY["fuyu"].since)
def test_pixels_that_the_encoder_does_not_read_are_refused():
    model = sized.fuyu()
    call = sized.lines(model, [0])
    call["image_patches"] = call.pop("pixel_values")
    with tokenprune.attach(model, "divprune", budget=2), pytest.raises(UnsupportedMode, match="no pixel_values"):
        model.generate(**call, max_new_tokens=2)
