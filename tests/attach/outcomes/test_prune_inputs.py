"""``prune_inputs``: shorter inputs, made without touching model or inputs."""

import copy
from collections.abc import Mapping

import pytest
import torch
from attach import tiny
from transformers import BatchFeature

import tokenprune
from tokenprune.errors import UnprunedInputWarning, UnsupportedMode
from tokenprune.inputs import PrunedInputs


def answer(model, inputs, new=5, **options):
    return model.generate(**inputs, max_new_tokens=new, **options)[:, -new:]


@pytest.mark.parametrize("kind", tiny.MODELS)
def test_it_is_a_mapping_with_a_receipt(build, traces, kind):
    model = build(kind)
    inputs, before = tiny.prompts(model, (2, 1)), traces(model)
    short = tokenprune.prune_inputs(model, inputs, "vispruner", budget=5)
    assert traces(model) == before
    assert isinstance(short, PrunedInputs)
    assert isinstance(short, Mapping)
    assert set(short) == {"input_ids", "attention_mask", "mm_encoder_outputs"}
    assert (short.receipt.before, short.receipt.after) == (108, 15)
    longest = max(len(slots) for slots in short.receipt.slots)
    assert short["input_ids"].shape == short["attention_mask"].shape == (2, longest)
    for ids, mask, slots, given in zip(
        short["input_ids"], short["attention_mask"], short.receipt.slots, inputs["input_ids"], strict=True
    ):
        assert ids[mask.bool()].tolist() == given[slots].tolist()
    with tokenprune.attach(model, "vispruner", budget=5) as pruned:
        want = answer(model, inputs)
    assert torch.equal(answer(model, short), want)
    assert all(map(torch.equal, short.receipt.slots, pruned.receipt.slots))


def test_pipelines_and_changes_are_as_in_attach(model, inputs):
    for pipeline in ("random", tokenprune.load("random"), {"name": "mine", "scorer": "random", "splitter": "equal"}):
        short = tokenprune.prune_inputs(model, inputs, pipeline, budget="25%")
        assert short.receipt.after == 9
        assert short.receipt.budget == "25% per image"
    assert tokenprune.prune_inputs(model, inputs).receipt.pipeline == "vispruner"


@pytest.mark.parametrize("where", ["pipeline", "change"])
def test_kept_positions_are_refused_with_advice(model, inputs, traces, where):
    before = traces(model)
    pipeline = tokenprune.load("fastervlm", positions="keep") if where == "pipeline" else "fastervlm"
    with pytest.raises(UnsupportedMode, match=r"positions='keep'.*use attach, or positions='renumber'"):
        tokenprune.prune_inputs(model, inputs, pipeline, **({"positions": "keep"} if where == "change" else {}))
    assert traces(model) == before


@pytest.mark.parametrize("container", [dict, BatchFeature])
def test_inputs_without_images_are_the_same_inputs(model, container):
    inputs = container(tiny.prompts(model, (0, 0)))
    short = tokenprune.prune_inputs(model, inputs, "fastervlm")
    assert list(short) == list(inputs)
    assert all(short[name] is inputs[name] for name in inputs)
    assert short.receipt is None


def test_an_output_of_a_processor_is_read(model, inputs):
    batch = BatchFeature({**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])})
    short = tokenprune.prune_inputs(model, batch, "fastervlm", budget=5)
    assert short["token_type_ids"].shape == short["input_ids"].shape
    assert isinstance(batch, BatchFeature)
    assert set(batch) == {*inputs, "token_type_ids"}


def test_what_was_given_is_not_changed(model):
    inputs = tiny.prompts(model, (2, 1))
    given, kept = dict(inputs), copy.deepcopy(inputs)
    short = tokenprune.prune_inputs(model, inputs, "vispruner", budget=5)
    answer(model, short)
    assert list(inputs) == list(given)
    for name, value in inputs.items():
        assert value is given[name]
        assert torch.equal(value, kept[name])


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"do_sample": True, "num_return_sequences": 3}], ids=str)
def test_one_result_can_be_used_again_and_again(model, options):
    short = tokenprune.prune_inputs(model, tiny.prompts(model, (2, 1)), "vispruner", budget=5)
    found = []
    for _ in range(3):
        torch.manual_seed(0)
        found.append(answer(model, short, **options))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    model(**short)
    model(**short)


def test_other_arguments_travel_along(model, inputs):
    inputs = {**inputs, "max_new_tokens": 3, "labels": inputs["input_ids"].clone()}
    short = tokenprune.prune_inputs(model, inputs, "fastervlm", budget=5)
    assert short["max_new_tokens"] == 3
    assert short["labels"].tolist() == short["input_ids"].tolist()


def test_features_bring_no_gradient_graph(model, inputs):
    short = tokenprune.prune_inputs(model, inputs, "fastervlm", budget=5)
    assert not any(item.requires_grad for item in short["mm_encoder_outputs"]["image"].pooler_output)


def test_an_attached_model_says_that_such_inputs_pass(model, inputs):
    short = tokenprune.prune_inputs(model, inputs, "fastervlm", budget=5)
    want = answer(model, short)
    with tokenprune.attach(model, "fastervlm", budget=3) as pruned:
        with pytest.warns(UnprunedInputWarning):
            assert torch.equal(answer(model, short), want)
        assert tokenprune.prune_inputs(model, inputs, "random", budget=7).receipt.after == 7
    assert pruned.receipt is None
