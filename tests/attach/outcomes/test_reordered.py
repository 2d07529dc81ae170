"""Rows of a cache that are picked, repeated or put in another order: what it remembers of their prompts goes along."""

import copy

import pytest
import torch
from attach import tiny
from families import crossed
from transformers import DynamicCache, StaticCache

import tokenprune
from tokenprune.turn import turn_of

INSIDE = {
    "name": "mine",
    "stages": [{"site": {"llm_layer": 1}, "budget": "50%"}, {"site": {"llm_layer": 2}, "budget": "10%"}],
    "positions": "renumber",
}
WAYS = {"before": ("fastervlm", {"budget": 3}), "inside": (INSIDE, {})}
PICKS = [[1, 0], [1], [0, 0, 1], [0, 1, 0, 1]]


def picked(cache, rows, method="batch_select_indices"):
    """A copy of a cache, with these rows of it."""
    other = copy.deepcopy(cache)
    getattr(other, method)(torch.tensor(rows))
    return other


@pytest.fixture
def model(build):
    """Layers before, between and after two stages."""
    return build(layers=4)


@pytest.fixture(params=WAYS)
def talk(request, model):
    """An attached model, and a cache of two pruned prompts of different length with a word after them."""
    pipeline, changes = WAYS[request.param]
    call, cache = tiny.prompts(model, (1, 2)), DynamicCache(config=model.config.get_text_config())
    with tokenprune.attach(model, pipeline, **changes), torch.no_grad():
        model(**call, past_key_values=cache)
        yield model, call, cache


def says(model, mask, cache, words):
    """[B, 2, V] logits of two more words."""
    every = torch.cat([mask, torch.ones_like(words)], 1)
    return model(input_ids=words, attention_mask=every, past_key_values=cache).logits


@pytest.mark.parametrize("method", ["batch_select_indices", "reorder_cache"])
@pytest.mark.parametrize("rows", PICKS, ids=str)
def test_each_row_goes_on_as_its_own_prompt(talk, rows, method):
    model, call, cache = talk
    words = torch.tensor([[7, 8], [9, 5]])
    want = says(model, call["attention_mask"], copy.deepcopy(cache), words)
    got = says(model, call["attention_mask"][rows], picked(cache, rows, method), words[rows])
    torch.testing.assert_close(got, want[rows], atol=2e-5, rtol=1e-4)


def test_rows_that_were_repeated_are_picked_one_by_one(talk):
    """What search among several continuations of each prompt does: repeat, go on, and leave one of each."""
    model, call, cache = talk
    words = torch.tensor([[7, 8], [9, 5]])
    want = says(model, call["attention_mask"], copy.deepcopy(cache), words)
    cache.batch_repeat_interleave(3)
    cache.batch_select_indices(torch.tensor([4, 1]))
    got = says(model, call["attention_mask"][[1, 0]], cache, words[[1, 0]])
    torch.testing.assert_close(got, want[[1, 0]], atol=2e-5, rtol=1e-4)


def test_a_copy_takes_along_what_it_remembers_itself(talk):
    _, _, cache = talk
    other = picked(cache, [1])
    assert len(turn_of(other, 1).stays) == 1
    assert len(turn_of(cache, 2).stays) == 2
    assert cache.layers[0].keys.shape[0] == 2


def test_a_cache_that_forgets_is_as_it_was(model, inputs):
    cache = DynamicCache(config=model.config.get_text_config())
    before = set(vars(cache))
    with tokenprune.attach(model, INSIDE), torch.no_grad():
        model(**inputs, past_key_values=cache)
        assert {"reorder_cache", "batch_select_indices"} <= set(vars(cache))
        cache.crop(-cache.get_seq_length())
        model(input_ids=torch.tensor([[5, 6]]), past_key_values=cache)
    assert set(vars(cache)) - before == set()


def test_a_static_cache_too(model):
    call = tiny.prompts(model, (1, 2))
    cache = StaticCache(config=model.config.get_text_config(), max_cache_len=120)
    words = torch.tensor([[7, 8], [9, 5]])
    with tokenprune.attach(model, "fastervlm", budget=3), torch.no_grad():
        model(**call, past_key_values=cache)
        want = says(model, call["attention_mask"], copy.deepcopy(cache), words)
        got = says(model, call["attention_mask"][[1, 0]], picked(cache, [1, 0], "reorder_cache"), words[[1, 0]])
    torch.testing.assert_close(got, want[[1, 0]], atol=2e-5, rtol=1e-4)


def test_images_that_the_text_looks_at_go_along():
    case = crossed.CASES["mllama"]
    model = case.build()
    call, cache = case.inputs(model, (0, 1)), DynamicCache(config=model.config.get_text_config())
    words = torch.tensor([[7, 8], [9, 5]])

    def says_crossed(cache, rows):
        mask = torch.cat([call["attention_mask"], torch.ones_like(words)], 1)[rows]
        looks = call["cross_attention_mask"][rows][:, -1:].expand(-1, 2, -1, -1)
        given = {"input_ids": words[rows], "attention_mask": mask, "cross_attention_mask": looks}
        return model(**given, past_key_values=cache).logits

    with tokenprune.attach(model, "divprune", budget=4), torch.no_grad():
        model(**call, past_key_values=cache)
        want = says_crossed(copy.deepcopy(cache), [0, 1])
        got = says_crossed(picked(cache, [1, 0]), [1, 0])
    torch.testing.assert_close(got, want[[1, 0]], atol=2e-5, rtol=1e-4)
