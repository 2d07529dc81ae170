"""Calls that would go wrong are refused with what is wrong and what to do, and leave the model as it was."""

import pytest
import torch
from attach import tiny
from transformers import GenerationConfig
from transformers.generation import utils

import tokenprune
from tokenprune.errors import AttachError, UnsupportedMode

CALLS = {
    "generate": lambda model, inputs: model.generate(**inputs, max_new_tokens=2),
    "forward": lambda model, inputs: model(**inputs),
    "prune_inputs": lambda model, inputs, budget=3: tokenprune.prune_inputs(model, inputs, "fastervlm", budget=budget),
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


@pytest.fixture
def refused(model, inputs, traces):
    """Asserts that a call is refused in some words while attached, changes nothing, and the next one works."""

    def check(error, words, function):
        with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
            before = traces(model)
            with pytest.raises(error) as problem:
                function()
            assert [word for word in words if word not in str(problem.value)] == [], str(problem.value)
            assert traces(model) == before
            assert pruned.receipt is None
            model.generate(**inputs, max_new_tokens=2)
            assert pruned.receipt.after == 3

    return check


def prompt(rows, images):
    return {**tiny.padded(rows, "left"), "pixel_values": tiny.pixels(images)}


def holding(*counts):
    """One prompt for each count of placeholders."""
    return [[1, 5, *[tiny.IMAGE] * count, 6, 7] for count in counts]


class TestWrongProcessor:
    """It makes another number of placeholders than the encoder gives rows."""

    @pytest.mark.parametrize(
        ("placeholders", "images", "words"),
        [
            ([35], 1, ["[36] feature rows", "[35] placeholders"]),
            ([37], 1, ["[36] feature rows", "[37] placeholders"]),
            ([576], 1, ["[36] feature rows", "[576] placeholders"]),
            ([1], 1, ["[36] feature rows", "[1] placeholders"]),
            ([0], 1, ["[36] feature rows", "[0] placeholders"]),
            ([36], 2, ["[36, 36] feature rows", "[36] placeholders"]),
            ([72], 1, ["[36] feature rows", "[72] placeholders"]),
            ([54, 18], 2, ["[36, 36] feature rows", "[54, 18] placeholders"]),
            ([36, 35], 2, ["[36, 36] feature rows", "[36, 35] placeholders"]),
        ],
    )
    def test_both_numbers_are_told(self, model, refused, call, placeholders, images, words):
        inputs = prompt(holding(*placeholders), images)
        refused(AttachError, [*words, "the processor", "another model or image size"], lambda: call(model, inputs))

    @pytest.mark.parametrize("strategy", ["full", "default"])
    def test_the_cls_token_counts(self, build, call, strategy):
        model = build("llava_full" if strategy == "default" else "llava")  # the call asks for the other one
        inputs = {**tiny.prompts(model), "vision_feature_select_strategy": strategy}
        want = r"\[36\] feature rows.* \[37\] pl" if strategy == "default" else r"\[37\] feature rows.* \[36\] pl"
        with tokenprune.attach(model, "fastervlm"), pytest.raises(AttachError, match=want):
            call(model, inputs)


class TestMasks:
    def test_one_of_four_dimensions(self, model, inputs, refused, call):
        length = inputs["input_ids"].shape[1]
        mask = torch.ones(1, 1, length, length)
        words = [f"(1, 1, {length}, {length})", "2-D", "[batch, length]"]
        refused(UnsupportedMode, words, lambda: call(model, {**inputs, "attention_mask": mask}))

    def test_several_by_kind_of_layer(self, model, inputs, refused):
        mask = {"full_attention": torch.ones(1, 1, 4, 4)}
        refused(UnsupportedMode, ["dict", "2-D"], lambda: model(**{**inputs, "attention_mask": mask}))

    @pytest.mark.parametrize("change", [-1, 1, -40])
    def test_one_of_another_length(self, model, inputs, refused, call, change):
        length = inputs["input_ids"].shape[1]
        mask = torch.ones(1, length + change, dtype=torch.int64)
        words = [f"(1, {length + change})", f"(1, {length})"]
        refused(UnsupportedMode, words, lambda: call(model, {**inputs, "attention_mask": mask}))

    def test_one_of_another_batch(self, model, inputs, refused, call):
        length = inputs["input_ids"].shape[1]
        mask = torch.ones(2, length, dtype=torch.int64)
        words = [f"(2, {length})", f"(1, {length})"]
        refused(UnsupportedMode, words, lambda: call(model, {**inputs, "attention_mask": mask}))


class TestAnotherBatchGoesOn:
    """A cache of two pruned prompts, and three sequences that go on from it."""

    @pytest.fixture
    def cache(self, model):
        with tokenprune.attach(model, "fastervlm", budget=3):
            return model(**tiny.prompts(model, (1, 1)), use_cache=True).past_key_values

    def words(self):
        return ["2 pruned prompts", "3 sequences"]

    def test_generate(self, model, cache, refused):
        length = tiny.prompts(model, (1, 1))["input_ids"].shape[1]
        ids = torch.full((3, length + 1), 7)
        refused(UnsupportedMode, self.words(), lambda: model.generate(input_ids=ids, past_key_values=cache))

    def test_forward(self, model, cache, refused):
        ids = torch.full((3, 1), 7)
        refused(UnsupportedMode, self.words(), lambda: model(input_ids=ids, past_key_values=cache))

    def test_new_images(self, model, cache, refused):
        more = {"input_ids": torch.tensor(holding(36, 36, 36)), "pixel_values": tiny.pixels(3)}
        refused(UnsupportedMode, self.words(), lambda: model(**more, past_key_values=cache))

    def test_a_mask_that_forgets_what_was_dropped(self, model, cache, refused):
        ids, length = torch.full((2, 1), 7), tiny.prompts(model, (1, 1))["input_ids"].shape[1]
        mask = torch.ones(2, cache.get_seq_length() + 1, dtype=torch.int64)
        words = [f"(2, {mask.shape[1]})", "full prompt", f"(2, {length + 1})"]
        refused(UnsupportedMode, words, lambda: model(input_ids=ids, past_key_values=cache, attention_mask=mask))

    def test_generate_with_embeddings(self, model, cache, refused):
        embeds = torch.zeros(2, 60, 48)
        words = ["cache holds a pruned prompt", "input_ids", "pass the ids"]
        refused(UnsupportedMode, words, lambda: model.generate(inputs_embeds=embeds, past_key_values=cache))


class TestPaged:
    @pytest.mark.parametrize("way", ["argument", "configuration", "model"])
    def test_images_are_refused(self, model, inputs, refused, way):
        words = ["cache_implementation='paged'", "drops the images", "'dynamic' or 'static'"]
        config = GenerationConfig(cache_implementation="paged", max_new_tokens=2, pad_token_id=0)
        extra = {"argument": {"cache_implementation": "paged"}, "configuration": {"generation_config": config}}
        if way == "model":
            model.generation_config.cache_implementation = "paged"
        with pytest.raises(UnsupportedMode) as problem, tokenprune.attach(model, "fastervlm", budget=3):
            model.generate(**inputs, **extra.get(way, {}))
        assert [word for word in words if word not in str(problem.value)] == []
        model.generation_config.cache_implementation = None
        refused(UnsupportedMode, words, lambda: model.generate(**inputs, **extra["argument"]))


@pytest.mark.parametrize("name", ["nothing", "inputs_embeds"])
def test_only_ids_with_pixels_are_inputs_to_prune(model, name):
    inputs = {"pixel_values": tiny.pixels(1), **({name: torch.zeros(1, 40, 48)} if name != "nothing" else {})}
    with pytest.raises(UnsupportedMode, match=f"only input_ids with pixels.* are {', '.join(inputs)}$"):
        tokenprune.prune_inputs(model, inputs, "fastervlm")


class TestNothingLeft:
    """A prompt of images alone, of which the budget keeps none."""

    @pytest.mark.parametrize(("texts", "words"), [([[]], "0"), ([[1, 5], [], []], "1, 2")], ids=["one", "two"])
    def test_it_is_refused(self, model, inputs, call, texts, words, traces):
        asked = prompt([[*text, *[tiny.IMAGE] * 36] for text in texts], len(texts))
        options = {"budget": "0%"} if call is CALLS["prune_inputs"] else {}
        with tokenprune.attach(model, "fastervlm", budget="0%"):
            before = traces(model)
            with pytest.raises(UnsupportedMode, match=f"nothing is left of prompt {words}: .*add text, or keep a"):
                call(model, asked, **options)
            assert traces(model) == before
            model.generate(**inputs, max_new_tokens=1)

    def test_text_or_one_token_is_enough(self, model, call):
        for budget, row in (("0%", [5]), (1, [])):
            with tokenprune.attach(model, "fastervlm", budget=budget):
                call(model, prompt([[*row, *[tiny.IMAGE] * 36]], 1))


def test_ids_twice_are_refused_as_without_us(model, inputs):
    with pytest.raises(ValueError, match="passed alongside"):
        model.generate(inputs["input_ids"], **inputs)
    with tokenprune.attach(model, "fastervlm"), pytest.raises(ValueError, match="passed alongside"):
        model.generate(inputs["input_ids"], **inputs)


def test_no_ids_at_all_are_refused_as_without_us(model, inputs):
    with tokenprune.attach(model, "fastervlm", budget=3):
        cache = model(**inputs, use_cache=True).past_key_values
        for call in ({}, {"past_key_values": cache}):
            with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds"):
                model(**call)


def test_prefill_in_chunks_needs_a_release_that_reads_the_images_in_them(model, inputs, monkeypatch, refused):
    monkeypatch.delattr(utils, "_slice_mm_encoder_output", raising=False)
    words = ["prefill_chunk_size=7", "transformers 5.23 or newer", "Leave that out", "pip install 'transformers>=5.23'"]
    refused(UnsupportedMode, words, lambda: model.generate(**inputs, max_new_tokens=2, prefill_chunk_size=7))
