"""Every way of decoding gives what the language model gives by hand on the short prompt."""

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE
from releases import modes
from transformers import DynamicCache, StaticCache

import tokenprune

pytestmark = pytest.mark.parametrize("kind", ["llava", "vipllava"], indirect=True)  # a list of features, a tensor
COUNT = 5
LOGITS = {"output_logits": True, "return_dict_in_generate": True}
GREEDY = {
    "plain": {},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static", "disable_compile": True},
    "chunked prefill": {"prefill_chunk_size": 4, "disable_compile": True},
    "chunked prefill, static cache": {
        "prefill_chunk_size": 4,
        "cache_implementation": "static",
        "disable_compile": True,
    },
}


@pytest.fixture(params=[(1,), (0, 1, 2)], ids=str)
def inputs(request, model):
    return tiny.prompts(model, request.param)


@pytest.fixture
def one(model):
    return tiny.prompts(model, (1,))


def _new(sequences, inputs):
    """The generated tokens; what stands before them is the given prompt."""
    given = inputs["input_ids"]
    copies = len(sequences) // len(given)
    assert torch.equal(sequences[:, : given.shape[1]], given.repeat_interleave(copies, 0))
    return sequences[:, given.shape[1] :]


@pytest.mark.parametrize("mode", modes(GREEDY))
def test_greedy(model, quarter, by_hand, inputs, mode):
    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, max_new_tokens=COUNT, **LOGITS, **GREEDY[mode])
    ids, logits = by_hand(inputs).greedy(COUNT)
    assert torch.equal(_new(out.sequences, inputs), ids)
    torch.testing.assert_close(torch.stack(out.logits, 1), logits, **CLOSE)


def test_the_cache_is_as_short_as_the_prompt(model, quarter, by_hand, inputs):
    most = max(len(slots) for slots in by_hand(inputs).slots) + COUNT - 1
    for options in ({}, GREEDY["static cache"]):
        with tokenprune.attach(model, quarter):
            out = model.generate(**inputs, max_new_tokens=COUNT, return_dict_in_generate=True, **options)
        assert {layer.keys.shape[-2] for layer in out.past_key_values.layers} == {most}


@pytest.mark.parametrize("kind_of_cache", ["dynamic", "static"])
def test_a_cache_of_the_callers(model, quarter, by_hand, inputs, kind_of_cache):
    text = model.config.get_text_config()
    cache = DynamicCache(config=text) if kind_of_cache == "dynamic" else StaticCache(config=text, max_cache_len=128)
    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, past_key_values=cache, max_new_tokens=COUNT, disable_compile=True)
    assert torch.equal(_new(out, inputs), by_hand(inputs).greedy(COUNT)[0])
    assert int(cache.get_seq_length()) == max(len(slots) for slots in by_hand(inputs).slots) + COUNT - 1


def test_sampling(model, quarter, by_hand, inputs):
    options = {"do_sample": True, "num_return_sequences": 2, "top_k": 0, "top_p": 1.0}
    with tokenprune.attach(model, quarter):
        torch.manual_seed(7)
        out = model.generate(**inputs, max_new_tokens=COUNT, **options)
    assert torch.equal(_new(out, inputs), by_hand(inputs).sample(COUNT, 2, seed=7))


@pytest.mark.parametrize("mode", ["plain", "no cache", "static cache"])
def test_beams(model, quarter, by_hand, inputs, mode):
    with tokenprune.attach(model, quarter):
        out = model.generate(
            **inputs, max_new_tokens=COUNT, num_beams=3, num_return_sequences=2, early_stopping=False, **GREEDY[mode]
        )
    assert torch.equal(_new(out, inputs), by_hand(inputs).beams(COUNT, 3, 2))


@pytest.mark.parametrize("assistant", ["same class", "text only"])
def test_assisted(kind, model, quarter, by_hand, one, assistant):
    helper = tiny.MODELS[kind](seed=1) if assistant == "same class" else tiny.language()
    before = set(helper.__dict__)
    with tokenprune.attach(model, quarter):
        out = model.generate(**one, max_new_tokens=COUNT, assistant_model=helper, **LOGITS)
    ids, logits = by_hand(one).greedy(COUNT)
    assert torch.equal(_new(out.sequences, one), ids)
    torch.testing.assert_close(torch.stack(out.logits, 1)[:, :COUNT], logits, **CLOSE)
    assert set(helper.__dict__) == before


def test_prompt_lookup(model, quarter, by_hand, one):
    one["input_ids"][0, -2:] = one["input_ids"][0, -6:-4]  # something to look up
    with tokenprune.attach(model, quarter):
        out = model.generate(**one, max_new_tokens=COUNT, prompt_lookup_num_tokens=3)
    assert torch.equal(_new(out, one), by_hand(one).greedy(COUNT)[0])


def test_prompts_by_position_or_as_inputs(model, quarter, inputs):
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    with tokenprune.attach(model, quarter):
        named = model.generate(**inputs, max_new_tokens=COUNT)
        assert torch.equal(model.generate(inputs["input_ids"], **rest, max_new_tokens=COUNT), named)
        assert torch.equal(model.generate(inputs=inputs["input_ids"], **rest, max_new_tokens=COUNT), named)


def test_a_mask_that_is_left_out_is_read_off_the_padding(model, quarter, inputs):
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    with tokenprune.attach(model, quarter):
        assert torch.equal(model.generate(**bare, max_new_tokens=COUNT), model.generate(**inputs, max_new_tokens=COUNT))


def test_positions_of_the_callers(model, quarter, by_hand, inputs):
    """Ten later, all of them: rotary positions are relative, so that nothing changes but the ids that come back."""
    mask = inputs["attention_mask"]
    later = (mask.cumsum(-1) - 1).clamp(min=0) + 10
    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, position_ids=later, max_new_tokens=COUNT, **LOGITS)
    ids, logits = by_hand(inputs).greedy(COUNT)
    assert torch.equal(_new(out.sequences, inputs), ids)
    torch.testing.assert_close(torch.stack(out.logits, 1), logits, rtol=0, atol=1e-4)


def test_what_the_caller_handed_in_is_not_changed(model, quarter, inputs):
    before = {name: value.clone() for name, value in inputs.items()}
    config = model.generation_config.to_dict()
    with tokenprune.attach(model, quarter), torch.no_grad():
        model.generate(**inputs, max_length=inputs["input_ids"].shape[1] + 1)
        model(**inputs)
    assert inputs.keys() == before.keys()
    assert all(torch.equal(inputs[name], before[name]) for name in before)
    assert model.generation_config.to_dict() == config


def test_nothing_of_an_image_may_stay(model, twin, positions, inputs):
    """A budget of nothing leaves text alone."""
    from attach.parity.oracle import Hand, see, staying

    pipeline = tokenprune.load("fastervlm", budget="0%", positions=positions, separators="drop")
    stays = staying(see(twin, inputs["pixel_values"]), pipeline, separators=False)
    assert not stays.any()
    with tokenprune.attach(model, pipeline):
        out = model.generate(**inputs, max_new_tokens=COUNT, num_beams=2)
    assert torch.equal(_new(out, inputs), Hand(twin, inputs, stays, positions).beams(COUNT, 2, 1))
