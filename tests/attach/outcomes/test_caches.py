"""A cache that holds a pruned prompt is for attached models; another one would count its columns wrong."""

import copy

import pytest
import torch
from attach import tiny
from transformers import DynamicCache, StaticCache

import tokenprune
from tokenprune.errors import UnsupportedMode


@pytest.fixture(params=["dynamic", "static"])
def turn(request, model, inputs):
    """A pruned first turn, and the whole conversation with a second question."""
    config = model.config.get_text_config()
    cache = DynamicCache(config=config) if request.param == "dynamic" else StaticCache(config=config, max_cache_len=80)
    with tokenprune.attach(model, "fastervlm", budget=3):
        out = model.generate(**inputs, past_key_values=cache, max_new_tokens=3, return_dict_in_generate=True)
    return torch.cat([out.sequences, torch.tensor([[7, 8]])], 1), out.past_key_values


def answer(model, ids, cache):
    return model.generate(input_ids=ids, past_key_values=cache, max_new_tokens=3, disable_compile=True)


CALLS = {
    "generate": answer,
    "forward": lambda model, ids, cache: model(input_ids=ids[:, -1:], past_key_values=cache),
    "language model": lambda model, ids, cache: model.model.language_model(ids[:, -1:], past_key_values=cache),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_model_that_is_not_attached_is_refused(model, turn, call):
    ids, cache = turn
    keys = cache.layers[0].keys.clone()
    with pytest.raises(UnsupportedMode, match=r"33 of its columns.*attach it again, or start with an empty cache"):
        CALLS[call](model, ids, cache)
    assert torch.equal(cache.layers[0].keys, keys)


def test_a_copy_is_refused_by_itself(model, turn):
    ids, cache = turn
    other = copy.deepcopy(cache)
    keys = cache.layers[0].keys.clone()
    with pytest.raises(UnsupportedMode):
        answer(model, ids, other)
    with tokenprune.attach(model, "fastervlm", budget=3):
        answer(model, ids, other)
    assert torch.equal(cache.layers[0].keys, keys)


def test_attached_again_it_goes_on(model, inputs, turn):
    ids, cache = turn
    with tokenprune.attach(model, "fastervlm", budget=3):
        first = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True)
        want = answer(model, ids, first.past_key_values)
    with tokenprune.attach(model, "random", budget=20):  # the cache knows what it holds
        got = answer(model, ids, copy.deepcopy(cache))
        for _ in range(2):  # and is refused between the calls of a loop alone
            model(input_ids=ids[:, -1:], past_key_values=cache)
    assert torch.equal(got, want)
    with pytest.raises(UnsupportedMode):
        answer(model, ids, cache)


def test_a_method_that_was_looked_up_before_is_refused_too(model, turn):
    ids, cache = turn
    with tokenprune.attach(model, "fastervlm", budget=3):
        generate, forward = model.generate, model.forward
    with pytest.raises(UnsupportedMode, match="not attached"):
        generate(input_ids=ids, past_key_values=cache, max_new_tokens=2)
    with pytest.raises(UnsupportedMode, match="not attached"):
        forward(ids[:, -1:], past_key_values=cache)


def test_an_exception_leaves_it_refused(model, turn):
    ids, cache = turn
    with tokenprune.attach(model, "fastervlm", budget=3), pytest.raises(UnsupportedMode, match="mask"):
        model(input_ids=ids[:, -1:], past_key_values=cache, attention_mask=torch.ones(1, 3))
    with pytest.raises(UnsupportedMode, match="not attached"):
        answer(model, ids, cache)


def test_what_was_emptied_or_cut_back_to_the_text_is_anybodys(model, inputs, turn):
    _, cache = turn
    left = 0 if isinstance(cache, StaticCache) else 3  # columns before the image
    cache.crop(left - cache.get_seq_length()) if left else cache.reset()
    ids = inputs["input_ids"][:, :4]  # text
    with torch.no_grad():
        got = model(input_ids=ids[:, left:], past_key_values=cache).logits[:, -1]
        want = model(input_ids=ids).logits[:, -1]
    torch.testing.assert_close(got, want)
    assert "update" not in vars(cache)


@pytest.mark.parametrize("budget", ["100%", 3])
def test_what_lost_nothing_is_anybodys(model, inputs, budget):
    inputs = inputs if budget == "100%" else tiny.prompts(model, (0,))
    with tokenprune.attach(model, "fastervlm", budget=budget):
        out = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True)
    answer(model, torch.cat([out.sequences, torch.tensor([[7, 8]])], 1), out.past_key_values)
