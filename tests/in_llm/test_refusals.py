"""What would go wrong is refused, when attaching or when asking; the model is left as it was."""

import copy

import pytest
import torch
from attach import tiny
from transformers import DynamicCache

import tokenprune
from tokenprune.errors import AttachError, BudgetError, MissingCue, PipelineError, UnsupportedMode

QUARTER = {"name": "mine", "stages": [{"site": {"llm_layer": 2}, "scorer": "uniform", "budget": "25%"}]}


def hooks(model):
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules())


def test_inputs_cannot_say_what_leaves_later(model):
    with pytest.raises(UnsupportedMode, match="'mine' drops tokens inside the language model, which inputs cannot say"):
        tokenprune.prune_inputs(model, tiny.prompts(model), QUARTER)


@pytest.mark.parametrize("mode", [{"prefill_chunk_size": 4}, {"assistant_early_exit": 1}], ids=str)
def test_modes_that_run_layers_on_part_of_a_prompt(model, mode):
    (name,) = mode
    with tokenprune.attach(model, QUARTER), pytest.raises(UnsupportedMode, match=f"{name}=.* choose when it is whole"):
        model.generate(**tiny.prompts(model), max_new_tokens=2, **mode)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"site": {"llm_layer": 9}}, PipelineError, "llm_layer: 9 asks for a layer that is not there"),
        ({"scorer": {"use": "key_norm", "layer": 1}}, MissingCue, "reads 'keys@1'; inside .* write keys@previous"),
        ({"scorer": "thumbnail"}, None, ""),
    ],
)
def test_what_a_stage_cannot_have(model, changes, error, said):
    before, keys = hooks(model), set(vars(model))
    pipeline = {"name": "mine", "stages": [{**QUARTER["stages"][0], **changes}]}
    if error is not None:
        with pytest.raises(error, match=said):
            tokenprune.attach(model, pipeline)
    assert (hooks(model), set(vars(model))) == (before, keys)


def test_a_budget_that_cannot_be_reached_leaves_the_model_ready(model):
    inputs = tiny.prompts(model)
    plain = model.generate(**inputs, max_new_tokens=2)
    with tokenprune.attach(model, QUARTER, budget=8) as pruned:
        with pytest.raises(BudgetError, match=r"a budget of 8 .* layer 2 never averages below 18 of 36 tokens"):
            model.generate(**inputs, max_new_tokens=2)
        assert pruned.receipt is None
    assert torch.equal(model.generate(**inputs, max_new_tokens=2), plain)


def test_shares_and_scores_that_cannot_be_are_refused_when_attaching(model):
    with pytest.raises(BudgetError, match=r"a budget of 30% .* layer 2 never averages below 50 %; ask for at least"):
        tokenprune.attach(model, QUARTER, budget="30%")
    with pytest.raises(MissingCue, match="reads the scores of the stage before its first one; put a stage there"):
        tokenprune.attach(model, "random", scorer="previous")


def test_an_error_in_the_middle_leaves_no_state(model):
    inputs, seen = tiny.prompts(model, (1, 2)), []

    def fails(*_):
        if not seen:
            seen.append(1)
            raise RuntimeError("in the middle")

    with tokenprune.attach(model, QUARTER):
        want = model.generate(**inputs, max_new_tokens=3)
        hook = model.model.language_model.layers[3].register_forward_pre_hook(fails)
        with pytest.raises(RuntimeError, match="in the middle"):
            model.generate(**inputs, max_new_tokens=3)
        hook.remove()
        assert torch.equal(model.generate(**inputs, max_new_tokens=3), want)


def test_detaching_leaves_the_model_as_it_was(model):
    inputs, before, keys = tiny.prompts(model, (1, 2)), hooks(model), set(vars(model.model.language_model))
    plain = model(**inputs).logits
    with tokenprune.attach(model, QUARTER):
        assert hooks(model) > before
        model.generate(**inputs, max_new_tokens=2)
    assert (hooks(model), set(vars(model.model.language_model))) == (before, keys)
    assert torch.equal(model(**inputs).logits, plain)


def test_another_model_cannot_go_on_from_such_a_cache(model):
    inputs, other = tiny.prompts(model), copy.deepcopy(model)
    cache = DynamicCache(config=model.config)
    with tokenprune.attach(model, QUARTER):
        out = model.generate(**inputs, past_key_values=cache, max_new_tokens=2)
    new = torch.ones_like(out)
    with pytest.raises(UnsupportedMode, match="holds a prompt without some of its visual tokens"):
        other.generate(input_ids=out, attention_mask=new, past_key_values=cache, max_new_tokens=2)
    cache.crop(-1000)
    cache = DynamicCache(config=model.config)
    with tokenprune.attach(model, QUARTER):
        model.generate(**inputs, past_key_values=cache, max_new_tokens=4)
        cache.crop(-10)
        with pytest.raises(UnsupportedMode, match=r"the cache was cut to .* inside a pruned prompt"):
            model(input_ids=torch.tensor([[5]]), past_key_values=cache)


def test_flex_attention_and_windows_are_refused_with_their_reason(model, monkeypatch):
    config = model.model.language_model.config
    for name, value, said in (
        ("layer_types", ["full_attention", "sliding_attention"] * 2, "some of its layers have sliding_attention"),
        ("sliding_window", 8, "its layers have sliding windows"),
        ("_attn_implementation_internal", "flex_attention", "load it with attn_implementation='sdpa'"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(config, name, value, raising=False)
            with pytest.raises(AttachError, match=f"'mine' drops tokens inside the language model.*{said}"):
                tokenprune.attach(model, QUARTER)
