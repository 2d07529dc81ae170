"""A budget of everything goes through the whole rewrite and changes no bit."""

import pytest
import torch
from attach import tiny
from releases import modes

import tokenprune

BATCHES = [((1,), "left"), ((0, 1, 2), "left"), ((2, 1), "right"), ((2, 0, 1), "right")]
MODES = {
    "greedy": {},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static", "disable_compile": True},
    "chunked prefill": {"prefill_chunk_size": 7, "disable_compile": True},
    "sampling": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
}


@pytest.fixture(params=BATCHES, ids=lambda batch: f"{batch[0]} {batch[1]}")
def inputs(request, model):
    return tiny.prompts(model, *request.param)


def _everything(model, run):
    """What a run gives without and with a pipeline that keeps everything."""
    torch.manual_seed(0)
    plain = run()
    with tokenprune.attach(model, "fastervlm", budget="100%") as pruned:
        torch.manual_seed(0)
        attached = run()
    assert pruned.receipt.after == pruned.receipt.before > 0
    return plain, attached


def test_forward(model, inputs):
    with torch.no_grad():
        plain, attached = _everything(model, lambda: model(**inputs))
    assert torch.equal(plain.logits, attached.logits)
    assert torch.equal(plain.past_key_values.layers[1].keys, attached.past_key_values.layers[1].keys)
    assert plain.keys() == attached.keys()


def test_forward_without_a_mask(model):
    inputs = tiny.prompts(model, (1,))
    del inputs["attention_mask"]
    with torch.no_grad():
        plain, attached = _everything(model, lambda: model(**inputs).logits)
    assert torch.equal(plain, attached)


@pytest.mark.parametrize("mode", modes(MODES))
def test_generate(model, inputs, mode):
    options = {"max_new_tokens": 4, "output_logits": True, "return_dict_in_generate": True, **MODES[mode]}
    plain, attached = _everything(model, lambda: model.generate(**inputs, **options))
    assert torch.equal(plain.sequences, attached.sequences)
    assert torch.equal(torch.stack(plain.logits), torch.stack(attached.logits))
