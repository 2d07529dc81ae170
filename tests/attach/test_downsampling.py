"""A smaller image through the same encoder is what the model itself would make of it."""

import copy

import pytest
import torch
from attach import tiny
from families import cases
from torch.nn.functional import interpolate

import tokenprune
from tokenprune import inspection, prune_inputs
from tokenprune.errors import UnsupportedMode

SIDE, PATCH = tiny.SIDE, 4
SMALL = {9: (3, 3), 13: (3, 4), 30: (5, 6), 1: (1, 1)}  # tokens of 36 that a budget leaves room for


def by_hand(model, inputs, size, rows):
    """Logits of the last column of one prompt with one image, whose features are put in place by hand."""
    pixels = interpolate(inputs["pixel_values"], [PATCH * one for one in size], mode="bicubic", antialias=True)
    ids, image = inputs["input_ids"], inputs["input_ids"] == tiny.IMAGE
    keep = ~image
    keep[0, image[0].nonzero()[:rows, 0]] = True
    ids = ids[keep][None]
    with torch.no_grad():
        made = model.model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
        words = model.get_input_embeddings()(ids)
        words[ids == tiny.IMAGE] = torch.cat(list(made))
        return model(inputs_embeds=words).logits[:, -1]


@pytest.mark.parametrize("kind", ["llava", "llava_full", "llava_siglip", "vipllava"])
@pytest.mark.parametrize("budget", SMALL)
def test_the_answer_is_that_of_a_smaller_image(kind, budget):
    model, size = tiny.MODELS[kind](), SMALL[budget]
    inputs, count = tiny.prompts(model), size[0] * size[1]
    extra = tiny.rows_an_image(model) - SIDE**2
    with tokenprune.attach(model, "downsample", budget=budget) as pruned, torch.no_grad():
        got = model(**inputs, logits_to_keep=1).logits[:, -1]
    torch.testing.assert_close(got, by_hand(model, inputs, size, count + extra))
    image = pruned.receipt.images[0]
    assert (image.after, len(image.merged), pruned.receipt.separators) == (count, count, extra)


def test_at_its_own_size_an_image_is_as_it_was():
    model = tiny.llava()
    inputs = tiny.prompts(model, images=(1, 2))
    with torch.no_grad():
        want = model(**inputs).logits
        with tokenprune.attach(model, "downsample", budget="100%") as pruned:
            assert torch.equal(model(**inputs).logits, want)
    assert pruned.receipt.after == pruned.receipt.before


def test_images_of_one_call_may_shrink_to_several_sizes():
    model = tiny.llava()
    inputs = tiny.prompts(model, images=(1, 2, 0, 2))
    with tokenprune.attach(model, "downsample", budget="40 per prompt") as pruned:
        model.generate(**inputs, max_new_tokens=2)
    assert [image.after for image in pruned.receipt.images] == [36, 20, 20, 20, 20]
    with torch.no_grad(), tokenprune.attach(model, "downsample", budget="40 per prompt"):
        every = model(**inputs, logits_to_keep=1).logits
        alone = {"input_ids": inputs["input_ids"][1:2], "attention_mask": inputs["attention_mask"][1:2]}
        one = model(**alone, pixel_values=inputs["pixel_values"][1:3], logits_to_keep=1).logits
    torch.testing.assert_close(one[0], every[1])


def test_nothing_of_it_is_left_in_the_encoder():
    model = tiny.llava()
    inputs = tiny.prompts(model)
    with tokenprune.attach(model, "downsample"), torch.no_grad():
        model(**inputs)
        with pytest.raises(ValueError, match="doesn't match model"):
            model.model.vision_tower(inputs["pixel_values"][..., :8, :8])
    assert not model.model.vision_tower._forward_pre_hooks


def test_it_runs_in_half_precision_and_without_touching_the_model():
    model = tiny.llava().bfloat16()
    inputs = tiny.prompts(model)
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    short = prune_inputs(model, inputs, "downsample", budget=13)
    assert short.receipt.after == 12
    assert model(**short).logits.isfinite().all()


def test_a_first_patch_that_is_left_out_is_refused():
    model = tiny.llava_siglip()
    inputs = tiny.prompts(model)
    ids = inputs["input_ids"][
        inputs["input_ids"].ne(tiny.IMAGE).logical_or(torch.arange(len(inputs["input_ids"][0])) != 4)
    ]
    call = {"input_ids": ids[None], "pixel_values": inputs["pixel_values"], "vision_feature_select_strategy": "default"}
    with tokenprune.attach(model, "downsample"), pytest.raises(UnsupportedMode, match="leaves out the first patch"):
        model(**call)
    model.config = copy.deepcopy(model.config)
    model.config.vision_feature_select_strategy = "default"
    with pytest.raises(UnsupportedMode, match="set vision_feature_select_strategy='full'"):
        tokenprune.attach(model, "downsample")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gemma3", "it merges patches on a map of fixed size; 'pool' is the control"),
        ("llama4", "an image is cut into tiles; ask the processor for fewer"),
        ("chameleon", "ChameleonModel takes no interpolate_pos_encoding"),
        ("deepseek_vl_hybrid", "it looks at an image at several resolutions"),
        ("video_llava", "it looks at an image at several|it takes videos too"),
    ],
)
def test_what_cannot_be_shrunk_is_refused_when_attaching(name, said):
    with pytest.raises(UnsupportedMode, match=said):
        tokenprune.attach(cases.CASES[name].build(), "downsample")


def test_inspect_says_so_too():
    found = inspection.inspect_model("qwen2_vl").pipelines["downsample"]
    assert "load the processor with a smaller max_pixels" in found
    assert inspection.inspect_model("llava").pipelines["downsample"] is None
