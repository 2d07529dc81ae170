"""A language model that looks at images through cross-attention, beyond what every family is checked for."""

import pytest
import torch
from families import crossed
from transformers import CompileConfig, DynamicCache

import tokenprune
from tokenprune import Scorer
from tokenprune.cross_attention import encode_crossed
from tokenprune.errors import UnprunedInputWarning, UnsupportedMode
from tokenprune.family import family_of
from tokenprune.inspection import inspect_model

STEPS = {"max_new_tokens": 4, "output_logits": True, "return_dict_in_generate": True}


@pytest.fixture(scope="module")
def model():
    return crossed.mllama()


@pytest.fixture
def call(model):
    return crossed.tiled(model, [0, 1, 2])


def answered(model, call, **options):
    output = model.generate(**call, **{**STEPS, **options})
    return output.sequences, torch.stack(output.logits, 1), output.past_key_values


def unmasked(call):
    return {name: value for name, value in call.items() if name != "cross_attention_mask"}


def test_keys_of_images_get_fewer_and_those_of_texts_do_not(model, call):
    with tokenprune.attach(model, "vispruner", budget="25%") as pruned:
        cache = answered(model, call)[2]
    lengths = [layer.keys.shape[2] for layer in cache.layers]
    most = 9 + 2 + 5  # of 36 and 9 tokens, and a CLS token of each tile
    text = call["input_ids"].shape[1] + 3
    assert lengths == [text, most, text, most]
    for slots, mask in zip(pruned.receipt.slots, call["attention_mask"], strict=True):
        assert slots.tolist() == mask.nonzero()[:, 0].tolist()
    assert pruned.receipt.separators == 12


def test_separators_can_be_dropped(model, call):
    with tokenprune.attach(model, "vispruner", budget="25%", separators="drop") as pruned:
        cache = answered(model, call)[2]
    assert cache.layers[1].keys.shape[2] == 9 + 2
    assert pruned.receipt.separators == 0


def test_the_encoder_runs_once_whatever_is_asked(model, call):
    runs = []
    hook = model.model.vision_model.register_forward_hook(lambda *_: runs.append(1))
    try:
        with tokenprune.attach(model, "vispruner", budget=3):
            for options in ({}, {"num_beams": 2}, {"use_cache": False}):
                runs.clear()
                answered(model, call, **options)
                assert len(runs) == 1
    finally:
        hook.remove()


def test_several_sequences_of_a_prompt_keep_the_same(model, call):
    with tokenprune.attach(model, "random", budget=3) as pruned:
        torch.manual_seed(0)
        ids = model.generate(**call, do_sample=True, num_return_sequences=3, max_new_tokens=4)
        assert len(pruned.receipt.images) == 5
        kept = [image.kept.tolist() for image in pruned.receipt.images]
        answered(model, call, use_cache=False)
        assert [image.kept.tolist() for image in pruned.receipt.images] == kept
    assert ids.shape[0] == 9


@pytest.mark.parametrize("which", [[1], [0, 2]])
def test_a_call_without_mask_sees_what_is_kept_alone(model, which):
    call = unmasked(crossed.tiled(model, which))
    with tokenprune.attach(model, "divprune", budget=4):  # prompts 0 and 2 have different numbers of CLS tokens
        together = answered(model, call)[1]
        each = torch.cat([answered(model, unmasked(crossed.tiled(model, [one])))[1] for one in which])
    assert (together - each).abs().max() < 2e-5


def test_a_second_turn_on_the_cache_goes_on(model):
    call = crossed.tiled(model, [0])
    more = torch.tensor([[7, 8, 9]])
    with tokenprune.attach(model, "vispruner", budget=3):
        first = model.generate(**call, max_new_tokens=4, return_dict_in_generate=True)
        ids = torch.cat([first.sequences, more], 1)
        whole = {**call, "input_ids": ids, "attention_mask": torch.ones_like(ids), "cross_attention_mask": None}
        seen = call["cross_attention_mask"]
        whole["cross_attention_mask"] = torch.cat(
            [seen, seen[:, -1:].expand(-1, ids.shape[1] - seen.shape[1], -1, -1)], 1
        )
        want = answered(model, whole)
        text = {name: whole[name] for name in ("input_ids", "attention_mask", "cross_attention_mask")}
        found = answered(model, text, past_key_values=first.past_key_values)
    assert torch.equal(found[0], want[0])
    assert (found[1] - want[1]).abs().max() < 2e-5


@pytest.mark.parametrize("masked", [True, False])
def test_a_cache_without_some_of_the_images_is_for_attached_models(model, masked):
    call = crossed.tiled(model, [0])
    with tokenprune.attach(model, "vispruner", budget=3):
        cache = model(**call, use_cache=True).past_key_values
    step = {"input_ids": torch.tensor([[7]]), "past_key_values": cache}
    if masked:
        step["cross_attention_mask"] = call["cross_attention_mask"][:, -1:]
    with pytest.raises(UnsupportedMode, match=r"some of its visual tokens.*attach it again"):
        model(**step)
    with tokenprune.attach(model, "random", budget=1):
        assert model(**step).logits.isfinite().all()


def test_more_images_on_a_cache_that_holds_some_are_refused(model):
    call = crossed.tiled(model, [1])
    with tokenprune.attach(model, "vispruner", budget=3), torch.no_grad():
        cache = model(**call, use_cache=True).past_key_values
        ids = torch.cat([call["input_ids"]] * 2, 1)
        with pytest.raises(UnsupportedMode, match="the cache holds images"):
            model(**{**call, "attention_mask": torch.ones_like(ids)}, past_key_values=cache)


def test_images_after_a_text_in_the_cache_are_pruned(model):
    call, text = crossed.tiled(model, [1]), torch.tensor([[7, 8]])
    mask = torch.ones(1, 2 + call["input_ids"].shape[1], dtype=torch.int64)
    found = []
    for budget in ("100%", 3):
        with tokenprune.attach(model, "vispruner", budget=budget) as pruned, torch.no_grad():
            cache = DynamicCache(config=model.config.text_config)
            model(text, use_cache=True, past_key_values=cache)
            found.append(model(**{**call, "attention_mask": mask}, past_key_values=cache).logits)
            assert pruned.receipt.slots[0].tolist() == list(range(mask.shape[1]))
            assert cache.layers[1].keys.shape[2] == (4 * 10 if budget == "100%" else 3 + 3)
    assert found[0].shape == found[1].shape
    assert not torch.equal(*found)


def test_a_prompt_without_images_among_others_is_refused(model, call):
    call["aspect_ratio_ids"][1] = 0
    call["cross_attention_mask"][1] = 0
    with tokenprune.attach(model, "divprune", budget=3), pytest.raises(UnsupportedMode, match="prompt 1 has no image"):
        model.generate(**call, max_new_tokens=1)


def test_images_of_which_nothing_is_left_are_refused(model, call):
    with (
        tokenprune.attach(model, "divprune", budget="0%", separators="drop"),
        pytest.raises(UnsupportedMode, match="nothing is left"),
    ):
        model.generate(**call, max_new_tokens=1)


def test_inputs_cannot_be_shortened(model, call):
    with pytest.raises(UnsupportedMode, match=r"cross-attention.*use attach"):
        tokenprune.prune_inputs(model, call, "divprune")


def test_images_that_are_encoded_already_pass_and_are_said(model):
    call = crossed.tiled(model, [1])
    states = family_of(model).cross.encode(model.model, call).detach()
    text = {name: call[name] for name in ("input_ids", "attention_mask", "cross_attention_mask")}
    with torch.no_grad():
        plain = model(**call).logits
        with tokenprune.attach(model, "divprune", budget=3) as pruned:
            with pytest.warns(UnprunedInputWarning, match="encoded images"):
                found = model(**text, cross_attention_states=states).logits
            assert torch.equal(found, plain)
            with pytest.raises(UnsupportedMode, match="pixels or encoded images"):
                model(**call, cross_attention_states=states)
    assert pruned.receipt is None


def test_a_tuple_is_given_where_one_is_asked_for(model):
    call = crossed.tiled(model, [1])
    with tokenprune.attach(model, "divprune", budget=3), torch.no_grad():
        wanted = model(**call, use_cache=True)
        found = model(**call, use_cache=True, return_dict=False)
        assert torch.equal(found[0], wanted.logits)
        step = {"input_ids": torch.tensor([[7]]), "cross_attention_mask": call["cross_attention_mask"][:, -1:]}
        again = [model(**step, past_key_values=cache).logits for cache in (found[1], wanted.past_key_values)]
    assert torch.equal(*again)


def test_a_compiled_decode_step_is_the_same(model):
    call = crossed.tiled(model, [0])
    settings = CompileConfig(backend="eager", mode=None, fullgraph=True)
    settings._compile_all_devices = True
    with tokenprune.attach(model, "vispruner", budget=3):
        wanted = answered(model, call)[0]
        found = answered(model, call, cache_implementation="static", compile_config=settings)[0]
    torch._dynamo.reset()
    assert torch.equal(found, wanted)


def test_chunked_prefill_is_refused(model, call):
    with tokenprune.attach(model, "divprune", budget=3), pytest.raises(UnsupportedMode, match="prefill_chunk_size"):
        model.generate(**call, prefill_chunk_size=4, max_new_tokens=1)


def test_text_alone_passes(model):
    ids = torch.tensor([[1, 7, 8, 9]])
    plain = answered(model, {"input_ids": ids})[1]
    with tokenprune.attach(model, "vispruner", budget=3) as pruned:
        assert torch.equal(answered(model, {"input_ids": ids})[1], plain)
    assert pruned.receipt is None


def test_a_callback_may_ask_about_other_images(model):
    call, other = crossed.tiled(model, [0]), crossed.tiled(model, [1])
    inside = []

    def ask(ids, scores):
        inside.append(model(**other).logits)
        return scores

    with tokenprune.attach(model, "vispruner", budget=3), torch.no_grad():
        alone, logits = model(**other).logits, answered(model, call)[1]
        assert torch.equal(answered(model, call, logits_processor=[ask])[1], logits)
    assert len(inside) == 4
    assert all(torch.equal(one, alone) for one in inside)


def test_a_failure_in_the_middle_leaves_no_state(model, call):
    def fail(ids, scores):
        raise ZeroDivisionError

    before = answered(model, call)[1]
    state, hooks = set(vars(model)), len(model.model.language_model._forward_pre_hooks)
    with tokenprune.attach(model, "vispruner", budget=3), pytest.raises(ZeroDivisionError):
        model.generate(**call, logits_processor=[fail], max_new_tokens=3)
    assert (set(vars(model)), len(model.model.language_model._forward_pre_hooks)) == (state, hooks)
    assert torch.equal(answered(model, call)[1], before)


def test_gradients_flow_through_what_is_kept(model, call):
    pixels = call["pixel_values"].clone().requires_grad_()
    labels = torch.where(call["attention_mask"].bool(), call["input_ids"], -100)
    with tokenprune.attach(model, "vispruner", budget=3):
        model(**{**call, "pixel_values": pixels}, labels=labels).loss.backward()
    assert pixels.grad.abs().sum() > 0


class Received(Scorer):
    """Scores by the attention received."""

    @property
    def reads(self):
        return frozenset({"received_attention"})

    def score(self, tokens):
        return tokens.cue("received_attention")


def by_hand(model, call):
    """[H, tile, Q, tile, K] attention in the last layer of the first image: four tiles of a CLS token and nine patches.

    Six places that pad each tile are left out as queries and keys, though real queries see them as keys.
    """
    attention, entered = model.model.vision_model.global_transformer.layers[-1].self_attn, []
    hook = attention.register_forward_pre_hook(lambda _, args, given: entered.append(args[0]), with_kwargs=True)
    family_of(model).cross.encode(model.model, call)
    hook.remove()
    query, key = (
        made(entered[0][0]).unflatten(-1, (4, -1)).transpose(0, 1) for made in (attention.q_proj, attention.k_proj)
    )
    weights = (query @ key.transpose(-1, -2) * attention.scaling).softmax(-1)
    return weights.view(4, 4, 16, 4, 16)[:, :, :10, :, :10]


def cue_of(model, call, **changes):
    pipeline = tokenprune.load("fastervlm").replace(**changes)
    encoded, _ = encode_crossed(family_of(model), model, call, pipeline)
    return next(iter(encoded.tokens.cues.values()))[:4]


def test_received_attention_is_averaged_over_queries_that_are_no_padding(model, call):
    wanted = by_hand(model, call).mean((0, 1, 2))[:, 1:]  # [tile, N]
    assert torch.allclose(cue_of(model, call, scorer=Received()), wanted, atol=1e-6)


def test_the_cls_token_of_each_tile_looks_at_its_own_tile(model, call):
    rows = by_hand(model, call)[:, :, 0]  # [H, tile, tile, K]
    wanted = torch.stack([rows[:, tile, tile, 1:] for tile in range(4)])  # [tile, H, N]
    assert torch.allclose(cue_of(model, call), wanted, atol=1e-6)


def test_inspection_says_how_images_are_looked_at(model, tmp_path):
    model.config.save_pretrained(tmp_path)
    found = inspect_model(str(tmp_path), (24, 24))
    assert (found.layout, found.placeholders.count, found.refused) == ("cross-attention", 9, None)  # of a tile
    assert found.cues["cls_attention"] == "cls_attention@1"
