"""A quarter of the tokens: two oracles that share no code with the product, and what the receipt says of it.

The first runs the language model by hand on the short sequence. The second runs the unmodified model on the full one,
with the dropped columns masked out as keys and the positions given.
"""

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE, Hand, see, staying

import tokenprune

BATCHES = [((1,), "left"), ((0, 1, 2), "left"), ((2, 0, 1), "right")]
LEFT = BATCHES[:2]
COUNT = 5
PIPELINES = ["fastervlm", "vispruner", "divprune", "uniform"]


def _label(batch):
    return f"{batch[0]} {batch[1]}"


@pytest.fixture(params=BATCHES, ids=_label)
def inputs(request, model):
    return tiny.prompts(model, *request.param)


@pytest.fixture(params=LEFT, ids=_label)
def left(request, model):
    return tiny.prompts(model, *request.param)


def test_forward_is_the_language_model_on_the_short_sequence(model, quarter, by_hand, inputs):
    hand = by_hand(inputs, "forward")
    with tokenprune.attach(model, quarter) as pruned, torch.no_grad():
        logits = model(**inputs).logits
        for row, slots in enumerate(pruned.receipt.slots):
            torch.testing.assert_close(logits[row, slots], hand.logits(row), **CLOSE)


def test_generate_is_the_language_model_on_the_short_sequence(model, quarter, by_hand, left):
    with tokenprune.attach(model, quarter):
        out = model.generate(**left, max_new_tokens=COUNT, output_logits=True, return_dict_in_generate=True)
    ids, logits = by_hand(left).greedy(COUNT)
    assert torch.equal(out.sequences, torch.cat([left["input_ids"], ids], 1))
    torch.testing.assert_close(torch.stack(out.logits, 1), logits, **CLOSE)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_receipt_names_the_slots_that_stay(model, twin, inputs, pipeline):
    pipeline = tokenprune.load(pipeline, budget="25%")
    hand = Hand(twin, inputs, staying(see(twin, inputs["pixel_values"]), pipeline), "renumber")
    with tokenprune.attach(model, pipeline) as pruned, torch.no_grad():
        model(**inputs)
    assert pruned.receipt.length == inputs["input_ids"].shape[1]
    assert len(pruned.receipt.slots) == len(hand.slots)
    assert all(torch.equal(got, want) for got, want in zip(pruned.receipt.slots, hand.slots, strict=True))


def test_fastervlm_keeps_the_tokens_that_attention_ranks_first(model, twin):
    inputs = tiny.prompts(model, (0, 1, 2))
    best = see(twin, inputs["pixel_values"]).attention.mean(1).topk(9).indices.sort().values
    with tokenprune.attach(model, "fastervlm", budget=9) as pruned, torch.no_grad():
        model(**inputs)
    assert [image.kept.tolist() for image in pruned.receipt.images] == best.tolist()
    assert [image.sample for image in pruned.receipt.images] == [1, 2, 2]


def test_a_class_token_that_reaches_the_language_model_stays_unless_it_is_dropped():
    model, twin = tiny.llava_full(), tiny.llava_full()
    inputs = tiny.prompts(model, (1,))
    for wish, count in (("keep", 1), ("drop", 0)):
        pipeline = tokenprune.load("fastervlm", budget=9, separators=wish)
        hand = Hand(twin, inputs, staying(see(twin, inputs["pixel_values"]), pipeline, count == 1), "renumber")
        with tokenprune.attach(model, pipeline) as pruned, torch.no_grad():
            logits = model(**inputs).logits[0, pruned.receipt.slots[0]]
        assert pruned.receipt.separators == count
        assert len(logits) == inputs["input_ids"].shape[1] - 37 + 9 + count
        torch.testing.assert_close(logits, hand.logits(0), **CLOSE)


def _masked(inputs, hand):
    """The full prompts with the dropped columns masked out, and positions as though nothing had been."""
    real = inputs["attention_mask"]
    numbers = (real.cumsum(-1) - 1).clamp(min=0)
    return {**inputs, "attention_mask": real * hand.kept.long(), "position_ids": numbers}


def test_forward_is_the_full_model_with_the_dropped_columns_masked(model, twin, inputs):
    pipeline = tokenprune.load("fastervlm", budget="25%", positions="keep")
    hand = Hand(twin, inputs, staying(see(twin, inputs["pixel_values"]), pipeline), "keep")
    with tokenprune.attach(model, pipeline), torch.no_grad():
        logits = model(**inputs).logits
        full = twin(**_masked(inputs, hand)).logits
    torch.testing.assert_close(logits[hand.kept], full[hand.kept], **CLOSE)


@pytest.mark.parametrize("mode", [{}, {"num_beams": 3, "num_return_sequences": 2}], ids=["greedy", "beams"])
def test_generate_is_the_full_model_with_the_dropped_columns_masked(model, twin, left, mode):
    pipeline = tokenprune.load("fastervlm", budget="25%", positions="keep")
    hand = Hand(twin, left, staying(see(twin, left["pixel_values"]), pipeline), "keep")
    options = {"max_new_tokens": COUNT, "output_logits": True, "return_dict_in_generate": True, **mode}
    with tokenprune.attach(model, pipeline):
        out = model.generate(**left, **options)
    full = twin.generate(**_masked(left, hand), **options)
    assert torch.equal(out.sequences, full.sequences)
    torch.testing.assert_close(torch.stack(out.logits), torch.stack(full.logits), **CLOSE)
