"""Copies, weights and modes of an attached model."""

import copy
import io
import json
import pickle

import pytest
import torch
from attach import tiny
from transformers import LlavaForConditionalGeneration

import tokenprune
from tokenprune.errors import UnsupportedMode

COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": lambda model: torch.load(_saved(model), weights_only=False),
}


def _saved(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return buffer


def answer(model, inputs, new=5):
    return model.generate(**inputs, max_new_tokens=new)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_an_attached_model_is_refused_with_advice(traces, way):
    model = tiny.llava()  # one that never ran: transformers leaves hooks on it that do not pickle
    with tokenprune.attach(model, "fastervlm", budget=3):
        before = traces(model)
        with pytest.raises(UnsupportedMode, match=r"attached model cannot be (copied|pickled).*[Dd]etach it first"):
            COPIES[way](model)
        assert traces(model) == before


def test_a_copy_is_refused_after_a_run_too(model, inputs):
    with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
        want = answer(model, inputs)
        with pytest.raises(UnsupportedMode, match="Detach it first"):
            copy.deepcopy(model)
        with pytest.raises(UnsupportedMode, match="Detach it first"):
            copy.deepcopy({"models": [model]})
        assert torch.equal(answer(model, inputs), want)
    assert pruned.receipt.after == 3


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_a_detached_model_is_a_model_of_its_own(way):
    model = tiny.llava()
    inputs = tiny.prompts(model)
    tokenprune.attach(model, "fastervlm", budget=3).detach()
    other = COPIES[way](model)
    plain = answer(model, inputs)
    with tokenprune.attach(model, "fastervlm", budget=3):
        want = answer(model, inputs)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()  # what still answers does so without the first model
    assert torch.equal(answer(other, inputs), plain)
    with tokenprune.attach(other, "fastervlm", budget=3):
        assert torch.equal(answer(other, inputs), want)


def test_the_state_is_the_same_and_can_be_loaded(model, inputs, traces):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = tiny.llava(seed=9)
    want = {name: value.clone() for name, value in other.state_dict().items()}
    with tokenprune.attach(model, "fastervlm", budget=3):
        answer(model, inputs)
        during = model.state_dict()
        assert list(during) == list(before)
        assert all(torch.equal(during[name], before[name]) for name in before)
        assert [name for name, _ in model.named_modules()] == [name for name, _ in other.named_modules()]
        assert [name for name, _ in model.named_buffers()] == [name for name, _ in other.named_buffers()]
        model.load_state_dict(want)
        got = answer(model, inputs)
    with tokenprune.attach(other, "fastervlm", budget=3):
        assert torch.equal(answer(other, inputs), got)


def test_saving_while_attached_saves_the_model_alone(model, inputs, tmp_path):
    plain = answer(model, inputs)
    model.save_pretrained(tmp_path / "before")
    with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
        want = answer(model, inputs)
        model.save_pretrained(tmp_path / "during")
        assert torch.equal(answer(model, inputs), want)
    for path in sorted((tmp_path / "before").iterdir()):
        assert path.read_bytes() == (tmp_path / "during" / path.name).read_bytes(), path.name
    again = LlavaForConditionalGeneration.from_pretrained(tmp_path / "during").eval()
    assert torch.equal(answer(again, inputs), plain)
    assert "tokenprune" not in json.dumps(again.config.to_dict())
    assert pruned.receipt.after == 3


CASTS = {
    "to bfloat16": lambda model: model.to(torch.bfloat16),
    "half": lambda model: model.half(),
    "double": lambda model: model.double(),
    "to cpu": lambda model: model.to("cpu"),
}


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("pipeline", ["fastervlm", "divprune"])
def test_a_cast_while_attached_is_a_cast_before(build, cast, pipeline):
    first, second = build(), build()
    with tokenprune.attach(first, pipeline, budget=5) as one:
        assert CASTS[cast](first) is first
        inputs = tiny.prompts(first)
        inputs["pixel_values"] = inputs["pixel_values"].to(first.dtype)
        got = answer(first, inputs)
    with tokenprune.attach(CASTS[cast](second), pipeline, budget=5) as two:
        want = answer(second, inputs)
    assert torch.equal(got, want)
    assert torch.equal(one.receipt.images[0].kept, two.receipt.images[0].kept)
    assert first.dtype == second.dtype


def test_training_and_evaluating(model, inputs):
    model.model.vision_tower.config.attention_dropout = 0.5  # so that the two modes differ in what they keep
    for layer in model.model.vision_tower.encoder.layers:
        layer.self_attn.dropout = 0.5
    with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
        want = answer(model, inputs)
        assert model.train() is model
        assert model.training
        torch.manual_seed(0)
        one = model(**inputs).logits
        torch.manual_seed(1)
        assert not torch.equal(model(**inputs).logits.nan_to_num(), one.nan_to_num())
        model.eval()
        assert not model.training
        assert torch.equal(answer(model, inputs), want)
        model.requires_grad_(False)
    assert pruned.receipt.after == 3


def test_what_people_print_and_look_up_works(model):
    plain, names = repr(model), set(dir(model))
    with tokenprune.attach(model, "fastervlm", budget=3):
        assert repr(model) == plain
        assert names <= set(dir(model))
        assert model.generate.__name__ == "generate"
        assert model.forward.__doc__ == type(model).forward.__doc__
        assert model.can_generate()
        assert sum(weight.numel() for weight in model.parameters()) == model.num_parameters()


def test_a_change_of_the_attention_implementation_is_followed(model, inputs):
    with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
        answer(model, inputs)
        want = pruned.receipt
        model.set_attn_implementation("eager")
        answer(model, inputs)
    assert model.model.vision_tower.encoder.layers[2].self_attn.config._attn_implementation == "eager"
    assert torch.equal(pruned.receipt.images[0].kept, want.images[0].kept)
