"""A conversation that goes on from a cache whose layers are of different length."""

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE
from in_llm.hand import Layers
from in_llm.test_parity import pipeline
from transformers import DynamicCache

import tokenprune

STAGES = {1: 0.5, 3: 0.125}


@pytest.mark.parametrize("positions", ["keep", "renumber"])
def test_text_after_a_pruned_prompt(model, twin, positions):
    inputs, cache = tiny.prompts(model, (1, 2)), DynamicCache(config=model.config)
    with tokenprune.attach(model, pipeline(STAGES, "previous", positions)):
        first = model.generate(**inputs, past_key_values=cache, max_new_tokens=3)
        said = torch.tensor([tiny.text(4, 70), tiny.text(4, 71)])
        ids = torch.cat([first, said], 1)
        mask = torch.cat([inputs["attention_mask"], torch.ones(2, 7, dtype=torch.long)], 1)
        wishes = {"output_logits": True, "return_dict_in_generate": True}
        out = model.generate(input_ids=ids, attention_mask=mask, past_key_values=cache, max_new_tokens=3, **wishes)
    length = inputs["input_ids"].shape[1]
    for row in range(2):
        tail = out.sequences[row, length:-1].tolist()
        hand = Layers(twin, inputs, row, STAGES, "previous", positions, tail=tail)
        torch.testing.assert_close(torch.stack(out.logits, 1)[row], hand.logits[-3:], **CLOSE)


@pytest.mark.parametrize("positions", ["keep", "renumber"])
def test_a_second_image(model, twin, positions):
    """Both turns are pruned; what is left of the first stays in every layer as it was."""
    one, two = tiny.prompts(model, (1,), seed=3), tiny.prompts(model, (1,), seed=5)
    way, cache = pipeline(STAGES, "first", positions), DynamicCache(config=model.config)
    with tokenprune.attach(model, way) as pruned:
        first = model.generate(**one, past_key_values=cache, max_new_tokens=2)
        ids = torch.cat([first, two["input_ids"]], 1)
        call = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": two["pixel_values"]}
        out = model.generate(**call, past_key_values=cache, max_new_tokens=2)
    both = {**call, "pixel_values": torch.cat([one["pixel_values"], two["pixel_values"]])}
    hand = Layers(twin, both, 0, STAGES, "first", positions, tail=out[0, ids.shape[1] : -1].tolist())
    assert hand.logits[-2:].argmax(-1).tolist() == out[0, -2:].tolist()
    slots = pruned.receipt.layers[-1].slots[0]
    assert torch.equal(slots, hand.columns[hand.left[hand.left < hand.prompt]])
