"""Every field of a receipt against what can be worked out without the package."""

import copy
import json
import math

import pytest
import torch
from attach import tiny

import tokenprune

SIDE, ALL = tiny.SIDE, tiny.SIDE**2


def ran(model, inputs, pipeline="fastervlm", call="generate", **changes):
    with tokenprune.attach(model, pipeline, **changes) as pruned, torch.no_grad():
        model.generate(**inputs, max_new_tokens=1) if call == "generate" else model(**inputs)
    return pruned.receipt


def scores_of(model, inputs):
    """[B, N] what the scorer reads, as the library's eager attention shows it."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        seen = eager.model.vision_tower(inputs["pixel_values"], output_attentions=True).attentions
    cls = model.config.vision_config.model_type == "clip_vision_model"
    return seen[2][:, :, 0, 1:].mean(1) if cls else seen[3].mean((1, 2))


def slots_by_hand(model, inputs, kept):
    """Walk over the prompts with a pencil: text stays, the n-th placeholder is row n of the images in order."""
    rows, found = tiny.rows_an_image(model), []
    stays = []
    for indices in kept:
        own = [False] * rows
        for index in indices:
            own[index + rows - ALL] = True
        own[: rows - ALL] = [True] * (rows - ALL)  # a CLS token
        stays += own
    for ids, mask in zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True):
        slots = []
        for column, (token, real) in enumerate(zip(ids, mask, strict=True)):
            if token == tiny.IMAGE:
                if stays.pop(0):
                    slots.append(column)
            elif real:
                slots.append(column)
        found.append(slots)
    return found


@pytest.mark.parametrize("kind", tiny.MODELS)
@pytest.mark.parametrize("images", [(1,), (2, 1), (0, 3, 1)], ids=str)
@pytest.mark.parametrize("call", ["generate", "forward"])
def test_fields(build, kind, images, call):
    model = build(kind)
    inputs = tiny.prompts(model, images)
    receipt = ran(model, inputs, call=call, budget=7)
    want = [sorted(row.topk(7).indices.tolist()) for row in scores_of(model, inputs)]
    cls = model.config.vision_config.model_type == "clip_vision_model"
    assert receipt.pipeline == "fastervlm"
    assert receipt.model == type(model).__name__
    assert receipt.length == inputs["input_ids"].shape[1]
    assert receipt.budget == "7 per image"
    assert receipt.asked == 7 * sum(images)
    assert receipt.uncut == 0
    assert receipt.source == (("cls_attention@2",) if cls else ("received_attention@3",))
    assert receipt.space == "encoder"
    assert receipt.positions == "renumber"
    assert receipt.separators == (sum(images) if kind == "llava_full" else 0)
    assert (receipt.before, receipt.after) == (ALL * sum(images), 7 * sum(images))
    assert [image.sample for image in receipt.images] == [n for n, count in enumerate(images) for _ in range(count)]
    for image, kept in zip(receipt.images, want, strict=True):
        assert (image.before, image.after, image.rows, image.grid) == (ALL, 7, (7,), (SIDE, SIDE))
        assert image.kept.tolist() == image.important.tolist() == kept
        assert image.diverse.tolist() == []
    assert [slots.tolist() for slots in receipt.slots] == slots_by_hand(model, inputs, want)
    assert all(slots.dtype == torch.int64 and slots.device.type == "cpu" for slots in receipt.slots)
    assert list(receipt.milliseconds) == ["encode", "select", "cut"]
    assert all(0 < value < 60_000 for value in receipt.milliseconds.values())


@pytest.mark.parametrize("padding", ["left", "right"])
def test_slots_are_columns_of_the_padded_prompt(model, padding):
    inputs = tiny.prompts(model, (0, 2, 1), padding)
    receipt = ran(model, inputs, call="forward", budget=5)
    kept = [image.kept.tolist() for image in receipt.images]
    assert [slots.tolist() for slots in receipt.slots] == slots_by_hand(model, inputs, kept)
    for slots, mask in zip(receipt.slots, inputs["attention_mask"], strict=True):
        assert mask[slots].all()
        assert slots.tolist() == sorted(set(slots.tolist()))


def test_important_and_diverse_are_told_apart(model, inputs):
    receipt = ran(model, inputs, "vispruner", budget=9)
    (image,) = receipt.images
    best = sorted(scores_of(model, inputs)[0].topk(4).indices.tolist())
    assert image.important.tolist() == best
    assert len(image.diverse) == 5
    assert sorted(image.important.tolist() + image.diverse.tolist()) == image.kept.tolist()
    assert image.kept.tolist() == sorted(set(image.kept.tolist()))


def test_what_a_pipeline_overrides_is_told(model, inputs):
    one = ran(model, inputs, "divprune", budget="25%", positions="keep")
    assert (one.source, one.space, one.positions) == ((), "projected", "keep")
    two = ran(model, inputs, scorer={"use": "cls_attention", "layer": 1}, name="mine", space="projected")
    assert (two.pipeline, two.source, two.space) == ("mine", ("cls_attention@1",), "projected")


UNITS = {  # what is written: (the text of the receipt, tokens of each image, when prompts have two, one and one)
    9: ("9 per image", [9, 9, 9, 9]),
    0.25: ("25% per image", [9, 9, 9, 9]),
    "11.1%": ("11.1% per image", [4, 4, 4, 4]),
    "9 per row": ("9 per row", [9, 9, 9, 9]),
    "25% per row": ("25% per row", [9, 9, 9, 9]),
    "40 per prompt": ("40 per prompt", [20, 20, 36, 36]),
    "9 per prompt": ("9 per prompt", [5, 4, 9, 9]),
    "25% per prompt": ("25% per prompt", [9, 9, 9, 9]),
    "0%": ("0% per image", [0, 0, 0, 0]),
    "100%": ("100% per image", [36, 36, 36, 36]),
    1: ("1 per image", [1, 1, 1, 1]),
    576: ("576 per image", [36, 36, 36, 36]),
}


@pytest.mark.parametrize("budget", UNITS, ids=str)
@pytest.mark.parametrize("call", ["generate", "forward"])
def test_budgets(model, budget, call):
    text, after = UNITS[budget]
    inputs = tiny.prompts(model, (2, 1, 1))
    receipt = ran(model, inputs, "vispruner", call=call, budget=budget)
    assert receipt.budget == text
    assert [image.after for image in receipt.images] == after
    assert receipt.after == receipt.asked == sum(after)
    words = (inputs["attention_mask"].bool() & (inputs["input_ids"] != tiny.IMAGE)).sum(-1).tolist()
    tokens = [sum(after[:2]), *after[2:]]
    assert [len(slots) for slots in receipt.slots] == [one + two for one, two in zip(words, tokens, strict=True)]


def test_images_of_a_prompt_compete_in_one_pool(model):
    inputs = tiny.prompts(model, (2, 1))
    receipt = ran(model, inputs, splitter="global_pool", budget="9 per prompt")
    scores = scores_of(model, inputs)
    best = scores[:2].flatten().topk(9).indices.tolist()
    assert receipt.images[0].kept.tolist() == sorted(index for index in best if index < ALL)
    assert receipt.images[1].kept.tolist() == sorted(index - ALL for index in best if index >= ALL)
    assert receipt.images[2].kept.tolist() == sorted(scores[2].topk(9).indices.tolist())
    assert receipt.budget == "9 per prompt"
    assert receipt.source == ("cls_attention@2",)


@pytest.mark.parametrize("kind", ["llava", "llava_full", "vipllava"])
def test_nothing_visual_at_all(build, kind):
    model = build(kind)
    inputs = tiny.prompts(model, (1, 2))
    receipt = ran(model, inputs, budget="0%")
    rows = tiny.rows_an_image(model)
    assert (receipt.before, receipt.after, receipt.asked, receipt.uncut) == (3 * ALL, 0, 0, 0)
    assert receipt.separators == 3 * (rows - ALL)
    assert [image.kept.tolist() for image in receipt.images] == [[], [], []]
    assert [slots.tolist() for slots in receipt.slots] == slots_by_hand(model, inputs, [[], [], []])
    assert "0 of 108 tokens (0.0 %)" in str(receipt)


class TestTurns:
    def test_later_turns_count_in_the_conversation(self, model):
        first, ids = tiny.prompts(model), None
        with tokenprune.attach(model, "fastervlm", budget=5) as pruned:
            out = model.generate(**first, max_new_tokens=3, return_dict_in_generate=True)
            one = pruned.receipt
            more = tiny.prompts(model, seed=7)
            ids = torch.cat([out.sequences, more["input_ids"]], 1)
            text = torch.cat([out.sequences, torch.tensor([[9, 9]])], 1)
            model.generate(input_ids=text, past_key_values=copy.deepcopy(out.past_key_values), max_new_tokens=1)
            assert pruned.receipt is one
            model.generate(
                input_ids=ids, pixel_values=more["pixel_values"], past_key_values=out.past_key_values, max_new_tokens=1
            )
        two, start = pruned.receipt, out.sequences.shape[1]
        assert two.length == ids.shape[1]
        assert (len(two.images), two.before, two.after) == (1, ALL, 5)  # this turn's images
        late = [slot for slot in two.slots[0].tolist() if slot >= start]
        assert late == [start + slot for slot in slots_by_hand(model, more, [two.images[0].kept.tolist()])[0]]
        early = [slot for slot in two.slots[0].tolist() if slot < one.length]
        assert early == one.slots[0].tolist()

    def test_a_second_image_over_the_same_conversation_written_out(self, model):
        """Without a cache the whole conversation is one prompt."""
        inputs = tiny.prompts(model, (2,))
        receipt = ran(model, inputs, budget=5)
        assert len(receipt.images) == 2
        assert [image.sample for image in receipt.images] == [0, 0]


class TestText:
    def test_it_reads_like_this(self, model):
        receipt = ran(model, tiny.prompts(model, (2, 1)), "vispruner", budget=9)
        *lines, last = str(receipt).splitlines()
        assert lines == [
            "vispruner on LlavaForConditionalGeneration: 27 of 108 tokens (25.0 %); 3 images, 52 slots of 2 x 84",
            "asked 9 per image, 27 in all; scored by cls_attention@2; similarity in encoder space; positions: renumber",
            "  image 0 (prompt 0): 9 of 36, 4 important, 5 diverse",
            "  image 1 (prompt 0): 9 of 36, 4 important, 5 diverse",
            "  image 2 (prompt 1): 9 of 36, 4 important, 5 diverse",
            "key-value cache: 0.0 MiB less",
        ]
        parts = last.removeprefix("host time: ").split(", ")
        assert [part.split()[0] for part in parts] == ["encode", "select", "cut"]
        assert all(part.endswith(" ms") and float(part.split()[1]) >= 0 for part in parts)

    def test_separators_and_missing_scores_are_told(self, build):
        model = build("llava_full")
        text = str(ran(model, tiny.prompts(model), "divprune", budget=9))
        assert "9 of 36 tokens (25.0 %), + 1 separator; 1 image, " in text
        assert "scored by nothing; similarity in projected space" in text

    @pytest.mark.parametrize("budget", [9, "0%", "9 per prompt"])
    def test_as_plain_data(self, model, budget):
        receipt = ran(model, tiny.prompts(model, (2, 1)), "vispruner", budget=budget)
        plain = json.loads(json.dumps(receipt.to_dict(), allow_nan=False))
        assert plain["slots"] == [slots.tolist() for slots in receipt.slots]
        assert plain["source"] == list(receipt.source)
        assert [image["kept"] for image in plain["images"]] == [image.kept.tolist() for image in receipt.images]
        assert {"pipeline", "model", "budget", "asked", "positions", "separators", "milliseconds"} <= set(plain)
        assert plain["images"][0]["grid"] == [SIDE, SIDE]
        assert math.isclose(plain["milliseconds"]["encode"], receipt.milliseconds["encode"])

    def test_it_cannot_be_changed_by_mistake(self, model, inputs):
        receipt = ran(model, inputs)
        with pytest.raises(AttributeError):
            receipt.after = 3
        with pytest.raises(AttributeError):
            receipt.length = 3
