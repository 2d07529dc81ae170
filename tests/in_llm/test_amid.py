"""Calls amid a generation, caches that are used again, and prompts of which little is left."""

import copy

import pytest
import torch
from attach import tiny
from attach.tiny import IMAGE
from in_llm.test_looking import SHOWN, Reads
from in_llm.test_parity import STAGES, LastRow, pipeline
from transformers import DynamicCache, LogitsProcessor, StaticCache

import tokenprune
from tokenprune.errors import UnsupportedMode

WAY = pipeline(STAGES[1], "previous")
TEXT = torch.tensor([tiny.text(90, 5)])


class Asks(LogitsProcessor):
    """Ask the model about a text at every step."""

    def __init__(self, model, **options):
        self.model, self.options, self.found = model, options, []

    def __call__(self, input_ids, scores):
        self.found.append(self.model(input_ids=TEXT, **self.options).logits)
        return scores


@pytest.mark.parametrize("options", [{}, {"use_cache": False}], ids=str)
@pytest.mark.parametrize("use_cache", [True, False])
def test_a_text_is_answered_amid_a_generation(model, use_cache, options):
    inputs = tiny.prompts(model, (1,))
    plain = model(input_ids=TEXT).logits
    with tokenprune.attach(model, WAY):
        want = model.generate(**inputs, max_new_tokens=4)
        asks = Asks(model, **options)
        found = model.generate(**inputs, max_new_tokens=4, use_cache=use_cache, logits_processor=[asks])
    assert torch.equal(found, want)
    for one in asks.found:
        torch.testing.assert_close(one, plain, rtol=0, atol=2e-6)


def test_guidance_runs_a_text_beside_the_prompt(model):
    inputs = tiny.prompts(model, (1,))
    with tokenprune.attach(model, WAY):
        outs = [model.generate(**inputs, max_new_tokens=3, guidance_scale=1.5, use_cache=use) for use in (True, False)]
    assert torch.equal(*outs)


@pytest.mark.parametrize("kind", [StaticCache, DynamicCache])
def test_a_cache_that_is_emptied_forgets_an_interrupted_generation(model, kind):
    class Stops(LogitsProcessor):
        def __call__(self, input_ids, scores):
            raise KeyboardInterrupt

    inputs, texts = tiny.prompts(model, (1, 2)), TEXT.repeat(2, 1)
    plain = model(input_ids=texts).logits
    cache = StaticCache(model.config, max_cache_len=192) if kind is StaticCache else DynamicCache(config=model.config)
    with tokenprune.attach(model, WAY), pytest.raises(KeyboardInterrupt):
        model.generate(**inputs, past_key_values=cache, max_new_tokens=3, logits_processor=[Stops()])
    with pytest.raises(UnsupportedMode, match="the model that goes on from it is not attached"):
        model(input_ids=texts, past_key_values=cache)
    with tokenprune.attach(model, WAY):
        cache.reset()
        torch.testing.assert_close(model(input_ids=texts, past_key_values=cache).logits, plain, rtol=0, atol=2e-6)


@pytest.mark.parametrize("other", ["random", pipeline({2: 0.5})], ids=["before", "elsewhere"])
def test_other_stages_cannot_go_on_from_a_cache(model, other):
    cache = DynamicCache(config=model.config)
    with tokenprune.attach(model, WAY):
        ids = model.generate(**tiny.prompts(model, (1,)), past_key_values=cache, max_new_tokens=2)
    with tokenprune.attach(model, other), pytest.raises(UnsupportedMode, match="has other stages; attach the one that"):
        model.generate(input_ids=ids, past_key_values=cache, max_new_tokens=2)


def test_a_later_turn_looks_back_and_never_ahead(model):
    """Where all keys are alike, a query gives the same to each of the turn's columns up to its own."""
    level = copy.deepcopy(model)
    for at in (1, 3):
        torch.nn.init.zeros_(level.model.language_model.layers[at].self_attn.q_proj.weight)
    stages = [{**one, "scorer": Reads(names=("visual_attention@this",))} for one in pipeline({3: 0.125})["stages"]]
    stages.insert(0, {**pipeline({1: 0.5})["stages"][0], "scorer": "uniform"})
    cache, ids = DynamicCache(config=level.config), torch.empty(1, 0, dtype=torch.long)
    with tokenprune.attach(level, {"name": "mine", "stages": stages, "positions": "keep"}):
        for seed in (3, 5):
            turn, past = tiny.prompts(level, (1,), seed=seed), max(ids.shape[1] - 1, 0)  # the last is in no cache yet
            ids = torch.cat([ids, turn["input_ids"]], 1)
            first = int((ids[0, past:] == IMAGE).nonzero()[0])
            call = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": turn["pixel_values"]}
            ids = level.generate(**call, past_key_values=cache, max_new_tokens=2)
            count = int(SHOWN["tokens"].valid[0].sum())
            given = 1 / (first + 1 + torch.arange(count))  # of a query, to each that it sees
            want = given.flip(0).cumsum(0).flip(0) / count  # what all queries from a token on give to it
            torch.testing.assert_close(SHOWN["visual_attention@this"][0, :count], want, rtol=0, atol=1e-6)


def test_a_prompt_that_ends_with_its_image_is_scored_by_what_is_left_of_it(model):
    ids = torch.tensor([[tiny.BOS, *tiny.text(4, 2), *[IMAGE] * 36]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": tiny.pixels(1)}
    last = Reads(names=("last_attention@previous",))
    stages = [
        {"site": {"llm_layer": 1}, "scorer": LastRow(), "budget": "50%"},
        {"site": {"llm_layer": 3}, "scorer": last, "budget": "25%"},
    ]
    with tokenprune.attach(model, {"name": "mine", "stages": stages}):
        model(**inputs)
    assert (SHOWN["last_attention@previous"] > 0).all()


def test_nothing_at_all_may_enter(model):
    before = {"scorer": "uniform", "splitter": "equal", "budget": "0%"}
    inside = {"site": {"llm_layer": 2}, "scorer": LastRow(), "budget": "0%"}
    with tokenprune.attach(model, {"name": "mine", "stages": [before, inside]}) as pruned:
        model.generate(**tiny.prompts(model, (1, 2)), max_new_tokens=2)
    assert (pruned.receipt.after, pruned.receipt.average, pruned.receipt.layers) == (0, 0, ())
    only = torch.full((1, 36), IMAGE)
    inputs = {"input_ids": only, "attention_mask": torch.ones_like(only), "pixel_values": tiny.pixels(1)}
    said = "nothing of prompt 0 is left for layer 2: it is images alone"
    with tokenprune.attach(model, {"name": "mine", "stages": [inside]}), pytest.raises(UnsupportedMode, match=said):
        model(**inputs)


def test_what_was_read_is_let_go_before_decoding(model):
    held = []

    class Looks(LogitsProcessor):
        def __call__(self, input_ids, scores):
            inside = pruned._inside
            held.append((len(inside._seen), inside._inputs, inside._entered.numel(), inside._made))
            return scores

    with tokenprune.attach(model, WAY) as pruned:
        model.generate(**tiny.prompts(model, (1,)), max_new_tokens=2, logits_processor=[Looks()])
    assert held == [(0, None, 0, {})] * 2
