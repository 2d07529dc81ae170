"""What is kept of videos: their own budget, spread over frames; what stands between frames stays."""

from dataclasses import replace

import pytest
import torch
import torch._dynamo as dynamo
from families import native, stand_ins, tiles, videos
from families.tiny import END, IMAGE, VIDEO
from releases import CHUNKED
from transformers import CompileConfig

import tokenprune
from tokenprune import modality
from tokenprune.errors import UnsupportedMode
from tokenprune.family import family_of
from tokenprune.testing.family.subject import most

CASES = videos.CASES


def ask(name, prompts=(0, 1)):
    """A model and its call."""
    model = CASES[name].build()
    return model, CASES[name].inputs(model, prompts)


def receipt_of(model, call, pipeline="divprune", **changes):
    with tokenprune.attach(model, pipeline, **changes) as pruned:
        model.generate(**call, max_new_tokens=1)
    return pruned.receipt


class TestReceipt:
    def test_images_and_videos_come_in_the_order_of_the_prompts(self):
        receipt = receipt_of(*ask("qwen2_vl"), budget=5, splitter="equal")
        assert [(one.kind, one.sample, one.before) for one in receipt.images] == [
            ("video", 0, 18),
            ("image", 0, 15),
            ("image", 1, 4),
            ("video", 1, 16),
        ]
        assert [one.after for one in receipt.images] == [5, 5, 4, 5]
        assert [one.rows for one in receipt.images] == [(2, 1, 2), (5,), (4,), (3, 2)]
        assert "; 2 images, 2 videos, " in str(receipt).splitlines()[0]
        assert "asked 5 per image or video, 19 in all" in str(receipt)
        assert "video 0 (prompt 0): 5 of 18" in str(receipt)

    def test_slots_are_those_of_what_each_keeps(self):
        model, call = ask("qwen2_vl")
        receipt = receipt_of(model, call, budget=5)
        for sample in (0, 1):
            ids = call["input_ids"][sample]
            wanted = (ids != IMAGE) & (ids != VIDEO) & call["attention_mask"][sample].bool()
            for image in (one for one in receipt.images if one.sample == sample):
                columns = (ids == (VIDEO if image.kind == "video" else IMAGE)).nonzero()[:, 0]
                wanted[columns[image.kept]] = True
            assert receipt.slots[sample].tolist() == wanted.nonzero()[:, 0].tolist()

    def test_a_video_has_no_picture_to_draw(self):
        receipt = receipt_of(*ask("qwen2_vl"), budget=5)
        with pytest.raises(ValueError, match="it has several rows of them"):
            receipt.overlay(None, 0)


class TestBudget:
    def test_a_row_is_a_frame(self):
        receipt = receipt_of(*ask("qwen2_vl"), budget="2 per row")
        assert [one.rows for one in receipt.images] == [(2, 2, 2), (2,), (2,), (2, 2)]

    def test_images_and_videos_of_a_prompt_share_what_is_per_prompt(self):
        pooled = receipt_of(*ask("qwen2_vl"), budget="9 per prompt", splitter="global_pool")
        even = receipt_of(*ask("qwen2_vl"), budget="9 per prompt", splitter="equal")
        for receipt in (pooled, even):
            kept = [sum(one.after for one in receipt.images if one.sample == sample) for sample in (0, 1)]
            assert kept == [9, 9]
        assert [one.rows for one in even.images] == [(3, 2, 2), (2,), (3,), (3, 3)]

    def test_what_a_video_keeps_does_not_depend_on_the_images_beside_it(self):
        name = "llava_onevision"
        model, call = ask(name)
        beside = receipt_of(model, call, "vispruner", budget="20%")
        here = [one for one in beside.images if one.kind == "video"]
        images = {"pixel_values", "image_sizes", "batch_num_images"}
        alone = {key: value for key, value in call.items() if key not in images}
        ids, mask = alone["input_ids"], alone["attention_mask"]
        alone |= {"input_ids": ids.masked_fill(ids == IMAGE, 9), "attention_mask": mask}
        for one, other in zip(here, receipt_of(model, alone, "vispruner", budget="20%").images, strict=True):
            assert one.kept.tolist() == other.kept.tolist()
            assert (one.important.tolist(), one.diverse.tolist()) == (other.important.tolist(), other.diverse.tolist())

    @pytest.mark.parametrize("budget", ["0%", "100%"])
    def test_none_and_all_of_videos_alone(self, budget):
        model, call = ask("qwen3_vl")
        receipt = receipt_of(model, call, budget=budget)
        assert receipt.after == {"0%": 0, "100%": receipt.before}[budget]


class TestFolding:
    """Tokens are folded into others of the same encoder, in images and in videos alike."""

    def test_what_is_folded_beside_images_is_what_is_folded_alone(self):
        model, call = ask("llava_onevision")
        pipeline = tokenprune.load("visionzip", budget="30%", splitter={"use": "equal", "merged": 0.5})
        short = tokenprune.prune_inputs(model, call, pipeline)
        images = {"pixel_values", "image_sizes", "batch_num_images"}
        alone = {key: value for key, value in call.items() if key not in images}
        alone["input_ids"] = alone["input_ids"].masked_fill(alone["input_ids"] == IMAGE, 9)
        other = tokenprune.prune_inputs(model, alone, pipeline)
        assert sum(len(one.merged) for one in other.receipt.images) > 0
        found, wanted = (
            torch.cat([part.flatten(0, -2) for part in one["mm_encoder_outputs"]["video"].pooler_output])
            for one in (short, other)
        )
        assert torch.equal(found, wanted)

    def test_an_image_is_not_folded_into_a_video(self):
        model, call = ask("qwen2_vl")
        changes = {"splitter": {"use": "global_pool", "merged": 0.5}, "positions": "renumber", "scorer": None}
        with pytest.raises(UnsupportedMode, match="folds tokens of images and of videos into each other"):
            tokenprune.prune_inputs(model, call, "visionzip", budget="6 per prompt", **changes)
        short = tokenprune.prune_inputs(model, call, "visionzip", budget=6, **changes)
        assert [one.after for one in short.receipt.images] == [6, 6, 4, 6]


def test_the_text_of_a_prompt_is_neither_its_images_nor_its_videos():
    model, call = ask("qwen2_vl")
    pipeline = tokenprune.load(
        {"name": "asked", "scorer": "text_relevance", "splitter": "equal", "space": "projected", "budget": 2}
    )
    asked = modality.see(family_of(model), model, call, pipeline, call["input_ids"], call["attention_mask"])
    ids, mask = call["input_ids"], call["attention_mask"].bool()
    last = [int(((row == IMAGE) | (row == VIDEO)).nonzero().max()) for row in ids]
    words = [row[at + 1 :][here[at + 1 :]] for row, here, at in zip(ids, mask, last, strict=True)]
    question = asked.tokens.cue("question")  # [B, M, C]
    for row, prompt in enumerate(asked.tokens.sample.tolist()):
        wanted = model.get_input_embeddings()(words[prompt])
        assert torch.equal(question[row, : len(wanted)], wanted)


class TestMarkedFrames:
    """With one pool for a video, frames compete; where they have markers of their own, none is left empty."""

    @pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5", "glm4v", "cohere_compass"])
    def test_none_is_empty_while_the_budget_holds_one_for_each(self, name):
        model, call = ask(name)
        found = set()
        for pipeline, budget in ((pipeline, budget) for pipeline in ("fastervlm", "divprune") for budget in (2, 3, 4)):
            receipt = receipt_of(model, call, pipeline, budget=budget, splitter="global_pool")
            for one in (one for one in receipt.images if one.kind == "video"):
                assert one.after == budget
                assert min(one.rows) > 0 or budget < len(one.rows), one.rows
                found.add(one.rows)
        assert len(found) > 2

    def test_where_all_frames_stand_in_one_run_they_may_be(self):
        rows = receipt_of(*ask("qwen2_vl"), "fastervlm", budget=3, splitter="global_pool").images[0].rows
        assert min(rows) == 0


class TestPruneInputs:
    @pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "glm4v", *videos.STACKED])
    def test_short_inputs_give_what_an_attached_model_gives(self, name):
        model, call = ask(name)
        short = tokenprune.prune_inputs(model, call, "divprune", budget="30%", positions="renumber")
        kinds = {"image"} if name == "glm4v" else {"image", "video"}  # whose placeholders are filled
        assert set(short["mm_encoder_outputs"]) == kinds
        assert not {"pixel_values", "pixel_values_videos", "video_grid_thw", "image_sizes"} & set(short)
        wish = {"max_new_tokens": 3, "output_logits": True, "return_dict_in_generate": True}
        found = model.generate(**short, **wish)
        given = short["input_ids"].shape[1]
        if name in videos.STACKED:
            with tokenprune.attach(model, "divprune", budget="30%", positions="renumber"):
                wanted = model.generate(**call, **wish)
            assert found.sequences[:, given:].tolist() == wanted.sequences[:, call["input_ids"].shape[1] :].tolist()
            assert most(torch.stack(found.logits), torch.stack(wanted.logits)) < 2e-5
        assert short.receipt.after == sum(int((short["input_ids"] == one).sum()) for one in (IMAGE, VIDEO)) - (
            short.receipt.separators
        )


@pytest.mark.since(CHUNKED)
@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "glm4v", *sorted(set(videos.STACKED) - {"perception_lm"})])
def test_prefill_in_chunks_gives_the_same(name):
    model, call = ask(name)
    wish = {"max_new_tokens": 3, "output_logits": True, "return_dict_in_generate": True}
    with tokenprune.attach(model, "divprune", budget="30%"):
        whole, parts = model.generate(**call, **wish), model.generate(**call, **wish, prefill_chunk_size=7)
    assert most(torch.stack(whole.logits), torch.stack(parts.logits)) < 2e-5


@pytest.mark.since(CHUNKED)
def test_transformers_cannot_cut_what_its_wrapper_of_timm_gives():
    """Images of Perception LM in chunks, attached or not; so its videos are not tried in chunks above."""
    model = CASES["perception_lm"].build()
    call = stand_ins.CASES["perception_lm"].inputs(model, [0])
    with pytest.raises(TypeError, match="last_hidden_state"):
        model.generate(**call, max_new_tokens=1, prefill_chunk_size=7)


def test_beams_of_a_model_that_counts_no_placeholders_of_videos():
    """In transformers beams of videos of GLM-4V fail; attached they are those of each prompt alone."""
    model, call = ask("glm4v")
    wish = {"max_new_tokens": 4, "num_beams": 3}
    with tokenprune.attach(model, "divprune", budget=4):
        together = model.generate(**call, **wish)[:, call["input_ids"].shape[1] :]
        for sample in (0, 1):
            one = CASES["glm4v"].inputs(model, (sample,))
            alone = model.generate(**one, **wish)[:, one["input_ids"].shape[1] :]
            assert torch.equal(together[sample], alone[0])


def test_a_video_in_the_second_turn_is_pruned_too():
    """A kept cache: the second turn gives what a cache of both turns at once gives."""
    model, call = ask("llava_onevision", (0,))
    more = CASES["llava_onevision"].inputs(model, (1,))
    wish = {"max_new_tokens": 2, "output_logits": True, "return_dict_in_generate": True}
    with tokenprune.attach(model, "divprune", budget=6, positions="keep") as pruned:
        first = model.generate(**call, **wish)
        ids = torch.cat([first.sequences, more["input_ids"]], 1)
        images = {name: value for name, value in more.items() if name not in ("input_ids", "attention_mask")}
        second = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **images, past_key_values=first.past_key_values, **wish
        )
        assert [one.kind for one in pruned.receipt.images] == ["image", "video"]
        both = {name: torch.cat([call[name], images[name]]) for name in images if name != "pixel_values"}
        crops = max(one.shape[1] for one in (call["pixel_values"], images["pixel_values"]))
        padded = [
            torch.nn.functional.pad(one, (0, 0) * 3 + (0, crops - one.shape[1]))
            for one in (call["pixel_values"], images["pixel_values"])
        ]
        both["pixel_values"] = torch.cat(padded)
        at_once = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **both, **wish)
    assert most(torch.stack(second.logits), torch.stack(at_once.logits)) < 2e-5


def test_one_prompt_with_a_video_beside_one_without():
    model, call = ask("qwen2_vl", (1,))
    ids = call["input_ids"]
    text = torch.arange(5, 5 + ids.shape[1])[None]
    both = {**call, "input_ids": torch.cat([text, ids]), "attention_mask": torch.ones(2, ids.shape[1]).long()}
    both["mm_token_type_ids"] = torch.cat([text * 0, call["mm_token_type_ids"]])
    with tokenprune.attach(model, "divprune", budget=3) as pruned, torch.no_grad():
        together, alone = model(**both).logits[1], model(**call).logits[0]
        assert [one.sample for one in pruned.receipt.images] == [0, 0]
    there = ~alone.isnan()
    assert torch.equal(there, ~together.isnan())
    assert most(together[there], alone[there]) < 2e-5


@pytest.mark.parametrize("method", ["forward", "generate"])
def test_images_and_videos_with_one_placeholder_are_refused_in_one_call(method):
    model, call = ask("glm4v", (0,))
    image = native.CASES["glm4v"].inputs(model, (0,))
    both = {name: torch.cat([image[name], call[name]], 1) for name in ("input_ids", "attention_mask")}
    both["mm_token_type_ids"] = torch.cat([image["mm_token_type_ids"], call["mm_token_type_ids"]], 1)
    with (
        tokenprune.attach(model, "divprune", budget=3),
        pytest.raises(UnsupportedMode, match="one placeholder for images and videos"),
    ):
        getattr(model, method)(**{**image, **call, **both})


def test_a_wrong_number_of_video_placeholders_is_refused():
    model, call = ask("qwen2_vl", (1,))
    call["input_ids"] = call["input_ids"].masked_fill((call["input_ids"] == VIDEO).cumsum(1) == 1, END)
    with (
        tokenprune.attach(model, "divprune", budget=3),
        pytest.raises(tokenprune.TokenpruneError, match="placeholders"),
    ):
        model(**call)


def test_the_old_name_of_images_is_known_too():
    model = tiles.video_llava()
    call = tiles.tiles(tiles.run(36), tiles.SINGLE)(model, (0,))
    call["pixel_values_images"] = call.pop("pixel_values")
    with tokenprune.attach(model, "divprune", budget=3) as pruned:
        model.generate(**call, max_new_tokens=1)
    assert pruned.receipt.after == 6


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_vl"])
def test_a_compiled_decode_step_is_whole(name):
    """What asks whether a call brings a video is in the graph too."""
    model, call = ask(name, (0,))
    settings = CompileConfig(backend="eager", mode=None, fullgraph=True)
    settings._compile_all_devices = True
    with tokenprune.attach(model, "divprune", budget=5):
        plain = model.generate(**call, max_new_tokens=3, cache_implementation="static")
        dynamo.reset()
        dynamo.utils.counters.clear()
        found = model.generate(**call, max_new_tokens=3, cache_implementation="static", compile_config=settings)
        counters = dynamo.utils.counters
    assert torch.equal(found, plain)
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]
    dynamo.reset()


def test_tokens_that_cannot_be_compared_are_not_chosen_from_together(monkeypatch):
    """The budget may be the prompt's, so images and videos need the same cues."""
    real = modality.encode

    def without_cues(family, *rest):
        encoded = real(family, *rest)
        if family.method != "get_video_features":
            return encoded
        return replace(encoded, tokens=replace(encoded.tokens, cues={}))

    model, call = ask("video_llava")
    monkeypatch.setattr(modality, "encode", without_cues)
    with (
        tokenprune.attach(model, "fastervlm", budget=3),
        pytest.raises(UnsupportedMode, match="give different cues"),
    ):
        model(**call)
