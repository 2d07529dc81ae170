"""Shortened inputs in the hands of a model that nobody touched give what the attached model gives."""

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE
from releases import modes

import tokenprune

pytestmark = pytest.mark.parametrize("kind", ["llava", "vipllava"], indirect=True)  # a list of features, a tensor
COUNT = 4
LOGITS = {"output_logits": True, "return_dict_in_generate": True}
MODES = {
    "greedy": {},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static", "disable_compile": True},
    "chunked prefill": {"prefill_chunk_size": 4, "disable_compile": True},
    "sampling": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
}


@pytest.fixture(params=[(1,), (0, 1, 2), (1, 1)], ids=str)
def inputs(request, model):
    return tiny.prompts(model, request.param)


@pytest.fixture
def short(model, inputs):
    return tokenprune.prune_inputs(model, inputs, "fastervlm", budget="25%")


@pytest.mark.parametrize("mode", modes(MODES))
def test_generate(model, inputs, short, mode):
    options = {"max_new_tokens": COUNT, **LOGITS, **MODES[mode]}
    with tokenprune.attach(model, "fastervlm", budget="25%"):
        torch.manual_seed(0)
        want = model.generate(**inputs, **options)
    for _ in range(2):  # the same inputs serve more than once
        torch.manual_seed(0)
        out = model.generate(**short, **options)
        assert torch.equal(
            out.sequences[:, : short["input_ids"].shape[1]], _repeated(short["input_ids"], out.sequences)
        )
        assert torch.equal(out.sequences[:, -COUNT:], want.sequences[:, -COUNT:])
        torch.testing.assert_close(torch.stack(out.logits), torch.stack(want.logits), **CLOSE)


def _repeated(ids, like):
    return ids.repeat_interleave(len(like) // len(ids), 0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_forward(model, side):
    inputs = tiny.prompts(model, (2, 0, 1), side)
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    short = tokenprune.prune_inputs(model, inputs, "fastervlm", budget="25%")
    with torch.no_grad():
        out = model(**short)
        with tokenprune.attach(model, "fastervlm", budget="25%"):
            want = model(**inputs)
    assert short["attention_mask"][:, 0 if side == "right" else -1].all()  # padded where it was
    torch.testing.assert_close(out.loss, want.loss, **CLOSE)
    for row, slots in enumerate(short.receipt.slots):
        torch.testing.assert_close(
            out.logits[row, short["attention_mask"][row].bool()], want.logits[row, slots], **CLOSE
        )


def test_everything_kept_changes_no_bit(model, inputs):
    short = tokenprune.prune_inputs(model, inputs, "fastervlm", budget="100%")
    assert torch.equal(short["input_ids"], inputs["input_ids"])
    options = {"max_new_tokens": COUNT, "num_beams": 2}
    with torch.no_grad():
        assert torch.equal(model(**short).logits, model(**inputs).logits)
    assert torch.equal(model.generate(**short, **options), model.generate(**inputs, **options))


def test_the_result_reads_as_a_mapping(model, inputs, short):
    assert set(short) == {"input_ids", "attention_mask", "mm_encoder_outputs"}
    assert dict(short).keys() == short.keys()
    assert short["input_ids"].shape == short["attention_mask"].shape
    assert short.receipt.after == 9 * short.receipt.before / 36
    assert "pixel_values" in inputs


def test_what_is_shortened_can_be_gone_on_from(model, short):
    """The cache is an ordinary one, in the coordinates of the short prompt."""
    first = model.generate(**short, max_new_tokens=COUNT, return_dict_in_generate=True)
    more = torch.full((len(first.sequences), 2), 7)
    ids = torch.cat([first.sequences, more], 1)
    mask = torch.cat([short["attention_mask"], torch.ones_like(ids[:, short["attention_mask"].shape[1] :])], 1)
    out = model.generate(ids, attention_mask=mask, past_key_values=first.past_key_values, max_new_tokens=COUNT)
    again = model.generate(**{**short, "input_ids": ids, "attention_mask": mask}, max_new_tokens=COUNT)
    assert torch.equal(out, again)


def test_without_images_the_inputs_come_back(model):
    inputs = tiny.prompts(model, (0, 0))
    short = tokenprune.prune_inputs(model, inputs)
    assert dict(short) == inputs
    assert short.receipt is None


def test_kept_positions_are_refused(model, inputs):
    with pytest.raises(tokenprune.errors.UnsupportedMode, match="use attach"):
        tokenprune.prune_inputs(model, inputs, positions="keep")


def test_the_model_is_not_touched(model, inputs):
    model.model.get_image_features(inputs["pixel_values"])  # transformers adds hooks of its own in the first run
    before = [(dict(module.__dict__), dict(module._forward_hooks)) for module in model.modules()]
    tokenprune.prune_inputs(model, inputs, "fastervlm", budget="25%")
    after = [(dict(module.__dict__), dict(module._forward_hooks)) for module in model.modules()]
    assert after == before
