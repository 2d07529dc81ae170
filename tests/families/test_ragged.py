"""Images of their own size: what shares a budget, what is refused, and sound beside them."""

from types import SimpleNamespace

import pytest
import torch
from families import cases, ragged, slices, tiny

import tokenprune
from tokenprune.encode import encode
from tokenprune.errors import AttachError, MissingCue, UnsupportedMode
from tokenprune.family import family_of
from tokenprune.framed import Framed
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune_adapters.video_llama_3 import VIDEO_LLAMA_3


def asked(name):
    """A model and a call of all its prompts."""
    case = cases.CASES[name]
    model = case.build()
    return model, case.inputs(model, case.prompts)


@pytest.mark.parametrize(("name", "images"), [("minicpmv4_6", slices.SLICES), ("lfm2_vl", slices.TILES)])
def test_crops_of_an_image_share_its_budget(name, images):
    model, call = asked(name)
    placeholder, pipeline = call["input_ids"] == tiny.IMAGE, tokenprune.load("divprune")
    with torch.no_grad():
        tokens = encode(family_of(model), model, call, pipeline, call["input_ids"], placeholder).tokens
    crops = [len(image) for prompt in images for image in prompt]
    assert tokens.group.tolist() == [at for at, count in enumerate(crops) for _ in range(count)]
    assert tokens.sample.tolist() == [at for at, prompt in enumerate(images) for image in prompt for _ in image]


@pytest.mark.parametrize("name", ["minicpmv4_6", "lfm2_vl"])
def test_crops_of_another_prompt_are_refused(name):
    model, call = asked(name)
    ids = call["input_ids"]
    ids[0, int((ids[0] == tiny.IMAGE).nonzero()[0])] = 7  # as many in all, but one less here and one more there
    ids[1, -1] = tiny.IMAGE
    with tokenprune.attach(model, "divprune", budget=2), pytest.raises(AttachError, match="placeholders"):
        model(**call)


@pytest.mark.parametrize("rows", [6, 10])
def test_rows_that_are_no_frame_are_refused(rows):
    layout = Framed(Native(lambda seen: seen.call["grids"], lambda config: 1), before=1, line=1, after=1)
    call = {"grids": torch.tensor([[1, 2, 2]])}  # a begin, two lines of two and a newline, and an end: eight rows
    ids = torch.full((1, rows), tiny.IMAGE)
    with pytest.raises(AttachError, match="geometry"):
        layout(Seen(None, None, call, [torch.zeros(rows, 4)], ids, ids == tiny.IMAGE))


@pytest.mark.parametrize("name", ["minimax_m3_vl", "exaone4_5", "hyperclovax_vision_v2"])
def test_positions_that_a_model_does_not_follow_are_refused(name):
    model = cases.CASES[name].build()
    with pytest.raises(UnsupportedMode, match="renumber"):
        tokenprune.attach(model, positions="keep")
    with tokenprune.attach(model, positions="renumber"):
        pass


LATER = pytest.param("lfm3_vl", 0, "some in 1", marks=pytest.mark.since(cases.EVERY["lfm3_vl"].since))


@pytest.mark.parametrize(("name", "layer", "why"), [("minicpmv4_6", 0, "later"), LATER])
def test_layers_that_say_nothing_about_tokens_are_refused(name, layer, why):
    model, call = asked(name)
    scorer = {"use": "cls_attention", "layer": layer}
    with pytest.raises(MissingCue, match=why), tokenprune.attach(model, "fastervlm", scorer=scorer, budget=2):
        model(**call)


@pytest.mark.parametrize("merges", [[1, 2], [3, 3]])
def test_merges_that_mix_tokens_are_refused(merges):
    with pytest.raises(UnsupportedMode, match="image_merge_sizes"):
        VIDEO_LLAMA_3.layout.merge(SimpleNamespace(image_merge_sizes=torch.tensor(merges)))


@pytest.mark.parametrize("name", cases.named("minicpmv4_6", "qwen2_5_omni_thinker"))
def test_a_model_that_gives_all_logits_whatever_is_asked_still_does(name):
    model, call = asked(name)
    with torch.no_grad(), tokenprune.attach(model, "divprune", budget=1):
        every, some = model(**call).logits, model(**call, logits_to_keep=1).logits
    assert torch.equal(some.nan_to_num(), every.nan_to_num())


@pytest.fixture(params=cases.named("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"))
def heard(request):
    """A model and a call with a sound after the images of each prompt."""
    model, call = asked(request.param)
    model.config.audio_start_token_id = tiny.MARK
    sound, mask = tiny.noise(2, model.config.audio_config.num_mel_bins, 32, seed=3), torch.ones(2, 32, dtype=torch.long)
    with torch.no_grad():
        count = len(model.model.get_audio_features(sound, mask, return_dict=True).last_hidden_state) // 2
    more = torch.tensor([[tiny.MARK, *[ragged.SOUND_TOKEN] * count, tiny.MARK + 1, 7]]).expand(2, -1)
    call["input_ids"] = torch.cat([call["input_ids"], more], 1)
    call["attention_mask"] = torch.cat([call["attention_mask"], torch.ones_like(more)], 1)
    return model, {**call, "input_features": sound, "feature_attention_mask": mask}


def test_sound_beside_images_stays(heard):
    model, call = heard
    there, wishes = call["attention_mask"].bool(), {"max_new_tokens": 2, "do_sample": False}
    with torch.no_grad():
        logits, ids = model(**call).logits, model.generate(**call, **wishes)
        with tokenprune.attach(model, budget="100%"):
            assert torch.equal(model(**call).logits[there], logits[there])
            assert torch.equal(model.generate(**call, **wishes), ids)
        with tokenprune.attach(model, budget=1) as pruned:
            short = model(**call).logits
    assert pruned.receipt.after == 3
    dropped = short.isnan().any(-1)
    assert int(dropped[there].sum()) == 27 - 3
    assert set(call["input_ids"][dropped & there].tolist()) == {tiny.IMAGE}
