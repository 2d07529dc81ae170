"""Flash attention's real code path in transformers, with stand-in kernels that run anywhere."""

import pytest
import torch
import transformers.integrations.flash_attention as integration
import transformers.modeling_flash_attention_utils as flash
from families import cases, ragged
from families.tiny import text
from releases import CHUNKED, modes
from transformers import LlavaConfig, LlavaForConditionalGeneration

import tokenprune
from tokenprune.encode import encode
from tokenprune.family import family_of, tower_of

IMAGE = 60


def _one(query, key, value, scale, causal):
    """[S, H, D] of one sequence; the last query sees all keys."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    logits = torch.einsum("qhd,khd->hqk", query, key) * (scale or query.shape[-1] ** -0.5)
    if causal:
        hidden = torch.ones(logits.shape[1:], dtype=torch.bool).tril(len(key) - len(query)).logical_not()
        logits = logits.masked_fill(hidden, -torch.inf)
    return torch.einsum("hqk,khd->qhd", logits.softmax(-1).nan_to_num(0), value)


def _dense(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, **_):
    return torch.stack([_one(*row, softmax_scale, causal) for row in zip(q, k, v, strict=True)])


def _varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, softmax_scale=None, causal=False, **_):
    queries, keys = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    parts = zip(queries[:-1], queries[1:], keys[:-1], keys[1:], strict=True)
    return torch.cat([_one(q[a:b], k[c:d], v[c:d], softmax_scale, causal) for a, b, c, d in parts])


@pytest.fixture
def flashed(monkeypatch):
    """Let a model use flash attention with the stand-ins."""
    kernels = (_dense, _varlen, None, flash._pad_input, flash._unpad_input)
    monkeypatch.setattr(flash, "_lazy_imports", lambda *_, **__: kernels)
    for name in ("_loaded_implementation", "_process_flash_kwargs_fn", "_flash_fn", "_flash_varlen_fn"):
        monkeypatch.setattr(flash, name, None)  # loaded anew with the stand-ins, and forgotten afterwards
    monkeypatch.setattr(integration, "_use_top_left_mask", False)

    def use(model):
        for module in model.modules():
            if hasattr(getattr(module, "config", None), "_attn_implementation_internal"):
                module.config._attn_implementation_internal = "flash_attention_2"
        return model

    return use


def _model():
    torch.manual_seed(0)
    vision = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    vision |= {"num_attention_heads": 4, "image_size": 24, "patch_size": 4}
    text = {"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=weight.shape[-1] ** -0.5)
    model.generation_config.pad_token_id = 0
    return model


def _inputs():
    ids = torch.tensor([[1, 5, 9, *[IMAGE] * 36, 7, 8, 11]])
    pixels = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def _logits(model, **options):
    """[B, new, V] logits of five decoded tokens."""
    options = {"max_new_tokens": 5, "output_logits": True, "return_dict_in_generate": True} | options
    return torch.stack(model.generate(**options).logits, 1)


def _second_turn(model):
    """A second turn whose image is behind a cache that is not empty."""
    first = model.generate(input_ids=torch.tensor([[1, 4, 9]]), max_new_tokens=2, return_dict_in_generate=True)
    ids = torch.cat([first.sequences, _inputs()["input_ids"]], 1)
    pixels = _inputs()["pixel_values"]
    return _logits(model, input_ids=ids, pixel_values=pixels, past_key_values=first.past_key_values)


MODES = {
    "plain": lambda model: _logits(model, **_inputs()),
    "no cache": lambda model: _logits(model, **_inputs(), use_cache=False),
    "chunked": lambda model: _logits(model, **_inputs(), prefill_chunk_size=5, disable_compile=True),
    "second turn": _second_turn,
    "forward": lambda model: model(**_inputs()).logits.detach().nan_to_num(0),
}


@pytest.mark.parametrize("positions", ["keep", "renumber"])
@pytest.mark.parametrize("mode", modes(MODES))
def test_flash_attention_answers_as_sdpa(flashed, mode, positions):
    model = _model()
    with tokenprune.attach(model, "random", budget="25%", positions=positions):
        want = MODES[mode](model)
    with tokenprune.attach(flashed(model), "random", budget="25%", positions=positions):
        got = MODES[mode](model)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=0)


@pytest.mark.since(CHUNKED)
def test_layers_without_rotary_embedding_need_no_positions(flashed):
    """What one of them would make of gaps, the next layer keeps for good."""
    language = {
        "head_dim": 12,
        "num_hidden_layers": 3,
        "layer_types": ["full_attention"] * 3,
        "layer_rope_theta": [0, 1e4, 1e4],
    }
    model = ragged.made("muse_glimmer", "MuseGlimmer", ragged.MUSE, text(**language), **ragged.ADAPTER)
    inputs = ragged.unmarked(model, [0])
    chunks = {"prefill_chunk_size": 5, "disable_compile": True}
    with tokenprune.attach(model, "random", budget="25%", positions="keep"):
        want = _logits(model, **inputs, **chunks)
    with tokenprune.attach(flashed(model), "random", budget="25%", positions="keep"):
        torch.testing.assert_close(_logits(model, **inputs, **chunks), want, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", cases.named("mistral3", "inkling2", "minicpmv4_6", "kimi_k25"))
def test_the_cue_of_images_end_to_end_is_the_same_under_flash_attention(flashed, name):
    model = cases.CASES[name].build()
    inputs, family = cases.CASES[name].inputs(model, [0, 1]), family_of(model)
    placeholder, pipeline, cues = inputs["input_ids"] == IMAGE, tokenprune.load("vispruner"), []
    for use in (lambda tower: tower, flashed):
        use(tower_of(family, model)[0])
        with torch.no_grad():
            encoded = encode(family, model, inputs, pipeline, inputs["input_ids"], placeholder)
        cues.append({name: encoded.tokens.cues[name] for name in encoded.names})
    torch.testing.assert_close(*cues, atol=1e-6, rtol=0)


@pytest.mark.since(CHUNKED)
def test_hidden_positions_come_back(flashed):
    model = flashed(_model())
    with tokenprune.attach(model, "random", budget="25%", positions="keep"):
        MODES["chunked"](model)
    assert not any(layer._forward_pre_hooks for layer in model.model.language_model.layers)


def test_the_cue_is_read_beside_flash_attention(flashed):
    model, inputs = _model(), _inputs()
    kept = []
    for current in (model, flashed(model)):
        with tokenprune.attach(current, "fastervlm", budget=9) as pruned, torch.no_grad():
            current(**inputs)
        kept.append(pruned.receipt.images[0].kept)
    assert torch.equal(*kept)


def _batch(model):
    """Two prompts of different length, one padded on the left; what stays differs in number too."""
    ids = torch.tensor([[0, 0, 1, 5, *[IMAGE] * 36, 7, 8], [1, 4, 9, 6, 5, *[7, 8] * 17, 4, 9, 8]])
    mask = (ids != 0).long()
    return _logits(model, input_ids=ids, attention_mask=mask, pixel_values=_inputs()["pixel_values"])


INSIDE = {
    "name": "mine",
    "stages": [
        {"site": {"llm_layer": 1}, "scorer": {"use": "text_attention"}, "budget": "50%"},
        {"site": {"llm_layer": 2}, "scorer": {"use": "text_attention", "layer": "this"}, "budget": "25%"},
    ],
}


@pytest.mark.parametrize("positions", ["keep", "renumber"])
@pytest.mark.parametrize("mode", ["plain", "no cache", "second turn", "forward", "batch"])
def test_inside_the_language_model_flash_attention_answers_as_sdpa(flashed, mode, positions):
    model, ask = _model(), {**MODES, "batch": _batch}[mode]
    with tokenprune.attach(model, INSIDE, positions=positions) as sdpa:
        want = ask(model)
    with tokenprune.attach(flashed(model), INSIDE, positions=positions) as fast:
        torch.testing.assert_close(ask(model), want, atol=2e-5, rtol=0)
    for one, other in zip(sdpa.receipt.layers, fast.receipt.layers, strict=True):
        assert all(map(torch.equal, one.kept, other.kept))
