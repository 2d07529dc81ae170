"""What cannot be attached is said when attaching, by name, with what to do; the model stays as it is."""

import pytest
from attach import tiny
from torch import nn
from transformers import LlavaConfig, LlavaForConditionalGeneration

import tokenprune
from tokenprune.errors import AttachError, MissingCue, TokenpruneError, UnknownFamily

DINO = {
    "model_type": "dinov2",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 4,
}
STRICT = {"use": "cls_attention", "without_cls": "error"}
LOAD_IT = ["is not a transformers model with generate()", "load it with AutoModelForImageTextToText"]


def on_dino():
    config = LlavaConfig(vision_config=DINO, text_config=tiny.LANGUAGE, image_token_index=tiny.IMAGE)
    return LlavaForConditionalGeneration(config).eval()


def missing(problem, words):
    """Those of ``words`` that the message lacks."""
    return [word for word in words if word not in str(problem.value)]


MODELS = {
    "text model": (tiny.language, UnknownFamily, ["'llama'", "LlamaForCausalLM", "llava, ", "vipllava", "entry point"]),
    "unknown tower": (on_dino, UnknownFamily, ["'dinov2'", "proven with clip_vision_model, siglip_vision_model"]),
    "bare module": (lambda: nn.Linear(3, 3), AttachError, ["Linear", *LOAD_IT]),
    "no head": (lambda: tiny.llava().model, AttachError, ["LlavaModel", *LOAD_IT]),
    "config": (lambda: tiny.llava().config, AttachError, ["LlavaConfig", *LOAD_IT]),
    "name": (lambda: "llava-hf/llava-1.5-7b-hf", AttachError, ["str", *LOAD_IT]),
    "none": (lambda: None, AttachError, ["NoneType", *LOAD_IT]),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("pipeline", ["fastervlm", "divprune"])
def test_an_unknown_model_is_refused(kind, pipeline, traces):
    make, error, words = MODELS[kind]
    model, inputs = make(), tiny.prompts(tiny.llava())
    before = traces(model) if isinstance(model, nn.Module) else None
    with pytest.raises(error) as problem:
        tokenprune.attach(model, pipeline)
    assert not missing(problem, words)
    with pytest.raises(error) as problem:
        tokenprune.prune_inputs(model, inputs, pipeline)
    assert not missing(problem, words)
    if before is not None:
        assert traces(model) == before


@pytest.mark.parametrize(
    ("kind", "scorer", "words"),
    [
        (
            "llava_siglip",
            STRICT,
            [
                "'fastervlm' reads cls_attention",
                "ForConditionalGeneration gives global_attention, keys, mean_keys, rec",
            ],
        ),
        ("llava_siglip", {**STRICT, "layer": 1}, ["reads cls_attention@1", ", received_attention", "@LAYER"]),
        ("llava", {"use": "cls_attention", "layer": 4}, ["'cls_attention@4'", "layer 4", "has 4, numbered from 0"]),
        ("llava", {"use": "cls_attention", "layer": -5}, ["'cls_attention@-5'", "layer -5", "has 4"]),
        ("llava_siglip", {"use": "cls_attention", "layer": 9}, ["'received_attention@9'", "layer 9", "has 4"]),
    ],
)
def test_a_missing_cue_is_told_at_attach(build, traces, kind, scorer, words):
    model = build(kind)
    before = traces(model)
    with pytest.raises(MissingCue) as problem:
        tokenprune.attach(model, "fastervlm", scorer=scorer)
    assert not missing(problem, words)
    with pytest.raises(MissingCue) as problem:
        tokenprune.prune_inputs(model, tiny.prompts(model), "fastervlm", scorer=scorer)
    assert not missing(problem, words)
    assert traces(model) == before


@pytest.mark.parametrize(("layer", "name"), [(0, "0"), (3, "3"), (-1, "3"), (-4, "0")])
def test_every_layer_there_is_can_be_read(model, inputs, layer, name):
    with tokenprune.attach(model, "fastervlm", budget=3, scorer={"use": "cls_attention", "layer": layer}) as pruned:
        model.generate(**inputs, max_new_tokens=1)
    assert pruned.receipt.source == (f"cls_attention@{name}",)


class Wish(tokenprune.Scorer):
    """Reads what no encoder has."""

    @property
    def reads(self):
        return frozenset({"text_attention"})

    def score(self, tokens):
        return tokens.cue("text_attention")


def test_a_cue_nobody_gives_is_told_with_what_there_is(model, traces):
    pipeline, before = tokenprune.load("fastervlm", scorer=Wish()), traces(model)
    with pytest.raises(MissingCue, match=r"reads text_attention.* gives cls_attention, .*received_attention"):
        tokenprune.attach(model, pipeline)
    assert traces(model) == before


def test_an_older_transformers_is_told_by_what_it_lacks(monkeypatch, model, traces):
    def old(self, input_ids=None, pixel_values=None, attention_mask=None, **rest):
        raise AssertionError

    before = traces(model)
    with monkeypatch.context() as patch:
        patch.setattr(LlavaForConditionalGeneration, "forward", old)
        patch.delattr(type(model.model), "get_image_features")
        with pytest.raises(AttachError) as problem:
            tokenprune.attach(model, "fastervlm")
    words = ["mm_encoder_outputs in forward", "base_model.get_image_features", "transformers 5.20 or newer"]
    assert not missing(problem, words)
    assert traces(model) == before


def test_all_of_it_is_one_tree_and_known_to_python():
    assert issubclass(UnknownFamily, AttachError)
    assert issubclass(AttachError, TokenpruneError)
    assert issubclass(AttachError, RuntimeError)
    assert issubclass(MissingCue, LookupError)
