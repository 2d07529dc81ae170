"""A detached model is the model that was attached, also after something went wrong in the middle."""

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE

import tokenprune

COUNT = 4
LOGITS = {"output_logits": True, "return_dict_in_generate": True}


@pytest.fixture
def inputs(model):
    return tiny.prompts(model, (0, 1, 2))


def _answers(model, inputs):
    """What the model gives in the ways that matter."""
    with torch.no_grad():
        logits = model(**inputs).logits
    out = model.generate(**inputs, max_new_tokens=COUNT, **LOGITS)
    return [logits, out.sequences, torch.stack(out.logits), model.generate(**inputs, max_new_tokens=COUNT, num_beams=2)]


def _state(model):
    """Everything that hangs on the model and its parts, by identity."""
    parts = []
    for module in model.modules():
        own = {name: value for name, value in module.__dict__.items() if not isinstance(value, dict)}
        tables = {name: dict(value) for name, value in module.__dict__.items() if isinstance(value, dict)}
        parts.append(({name: id(value) for name, value in own.items()}, tables))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    return parts, weights | buffers, model.config.to_dict(), model.generation_config.to_dict()


def _same(state, other):
    tensors, others = state[1], other[1]
    assert tensors.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in tensors.items())
    assert state[0] == other[0]
    assert state[2:] == other[2:]


def test_nothing_is_left(model, inputs):
    want = _answers(model, inputs)  # the first run lets transformers install its own hooks
    before = _state(model)
    with tokenprune.attach(model, "vispruner", budget="25%"):
        pruned = _answers(model, inputs)
    _same(_state(model), before)
    assert all(torch.equal(one, other) for one, other in zip(_answers(model, inputs), want, strict=True))
    assert not torch.equal(pruned[2], want[2])


class Broken(Exception):
    """Raised on purpose."""


def _raise(*_, **__):
    raise Broken


def _from_processor(model, inputs, monkeypatch):
    model.generate(**inputs, max_new_tokens=COUNT, logits_processor=[_raise])


def _from_scorer(model, inputs, monkeypatch):
    from tokenprune_strategies.cls_attention import ClsAttention

    with monkeypatch.context() as patch:
        patch.setattr(ClsAttention, "score", _raise)
        model.generate(**inputs, max_new_tokens=COUNT)


def _from_scorer_in_forward(model, inputs, monkeypatch):
    from tokenprune_strategies.cls_attention import ClsAttention

    with monkeypatch.context() as patch:
        patch.setattr(ClsAttention, "score", _raise)
        model(**inputs)


def _from(path):
    def run(model, inputs, monkeypatch):
        hook = model.get_submodule(path).register_forward_hook(_raise)
        try:
            model.generate(**inputs, max_new_tokens=COUNT)
        finally:
            hook.remove()

    return run


PLACES = {
    "logits processor": _from_processor,
    "scorer": _from_scorer,
    "scorer in forward": _from_scorer_in_forward,
    "tapped attention": _from("model.vision_tower.encoder.layers.2.self_attn"),
    "vision tower": _from("model.vision_tower"),
    "language model": _from("model.language_model.layers.1"),
}


@pytest.mark.parametrize("positions", ["keep"], indirect=True)
@pytest.mark.parametrize("kind", ["llava", "llava_siglip"], indirect=True)
@pytest.mark.parametrize("place", PLACES)
def test_an_exception_in_the_middle_leaves_nothing(model, quarter, inputs, monkeypatch, place):
    plain = _answers(model, inputs)
    before = _state(model)
    with tokenprune.attach(model, quarter):
        want = _answers(model, inputs)
    with tokenprune.attach(model, quarter) as pruned:
        attached = _state(model)
        with pytest.raises(Broken):
            PLACES[place](model, inputs, monkeypatch)
        _same(_state(model), attached)
        got = _answers(model, inputs)
        assert pruned.receipt.after == 3 * 9
    assert all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(got, want, strict=True))
    _same(_state(model), before)
    assert all(torch.equal(one, other) for one, other in zip(_answers(model, inputs), plain, strict=True))


def test_a_cache_outlives_the_attachment(model, quarter, by_hand):
    """Attached again, the conversation goes on."""
    inputs = tiny.prompts(model, (1,))
    with tokenprune.attach(model, quarter):
        first = model.generate(**inputs, max_new_tokens=COUNT, return_dict_in_generate=True)
    ids = torch.cat([first.sequences, torch.tensor([[5, 6]])], 1)
    with tokenprune.attach(model, quarter):
        out = model.generate(ids, past_key_values=first.past_key_values, max_new_tokens=COUNT, **LOGITS)
    whole = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": inputs["pixel_values"]}
    torch.testing.assert_close(torch.stack(out.logits, 1), by_hand(whole).greedy(COUNT)[1], **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(model, quarter, inputs, dtype):
    model = model.to(dtype)
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    length = inputs["input_ids"].shape[1]
    with tokenprune.attach(model, quarter) as pruned, torch.no_grad():
        logits = model(**inputs).logits
        out = model.generate(**inputs, max_new_tokens=COUNT, **LOGITS)
    assert logits.dtype == dtype
    assert logits.shape == (3, length, tiny.VOCABULARY)
    kept = torch.zeros(3, length, dtype=torch.bool)
    for row, slots in zip(kept, pruned.receipt.slots, strict=True):
        row[slots] = True
    assert torch.equal(logits.isfinite().all(-1), kept)
    assert out.sequences.shape == (3, length + COUNT)
    assert torch.stack(out.logits).isfinite().all()
    assert [image.after for image in pruned.receipt.images] == [9] * 3
