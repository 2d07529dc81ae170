"""Each thing that attaching rests on in transformers, taken away: said by name and version, with nothing touched."""

import re

import pytest
import transformers
from families import crops, crossed, tiles
from transformers import modeling_utils

import tokenprune
from tokenprune.errors import AttachError
from tokenprune.family import family_of
from tokenprune.seams import _seams


def without_argument(patch, owner, method, name):
    """The method of a class without one of its named arguments."""
    real = getattr(owner, method)

    def moved(self, input_ids=None, **rest):
        return real(self, input_ids, **rest)

    patch.setattr(owner, method, moved)


def hardwired(self, hidden_states, **rest):
    """An attention that looks nothing up."""
    return hidden_states, None


def without(build, name, of=lambda model: type(model)):
    """A seam that is an attribute of a class; ``of`` gives the class."""

    def take(patch, model):
        owner = next(cls for cls in of(model).__mro__ if name in vars(cls))
        patch.delattr(owner, name)

    return build, take


def moved(build, path):
    """A seam that is a module, or an attribute of a config."""

    def take(patch, model):
        stem, _, name = path.rpartition(".")
        root = model
        for part in stem.split("."):
            root = root[int(part)] if part.isdigit() else getattr(root, part)
        if name in getattr(root, "_modules", {}):
            patch.delitem(root._modules, name)
        else:
            patch.delattr(root, name)

    return build, take


def attention(model):
    return model.model.vision_tower.encoder.layers[0].self_attn


SEAMS = {
    "base_model.vision_tower": moved(tiles.llava, "model.vision_tower"),
    "base_model.multi_modal_projector": moved(tiles.llava, "model.multi_modal_projector"),
    "base_model.language_model": moved(tiles.llava, "model.language_model"),
    "config.image_token_id": (tiles.llava, lambda patch, model: patch.setattr(model, "config", Renamed(model.config))),
    "config.vision_config": moved(tiles.llava, "config.vision_config"),
    "prepare_inputs_for_generation": without(tiles.llava, "prepare_inputs_for_generation"),
    "_prepare_position_ids_for_generation": without(tiles.llava, "_prepare_position_ids_for_generation"),
    "mm_encoder_outputs in forward": (
        tiles.llava,
        lambda patch, model: without_argument(patch, type(model), "forward", "mm_encoder_outputs"),
    ),
    "_prepare_multimodal_encoder_kwargs_for_generation": without(
        tiles.llava, "_prepare_multimodal_encoder_kwargs_for_generation"
    ),
    "_expand_multimodal_outputs": without(tiles.llava, "_expand_multimodal_outputs"),
    "base_model.get_image_features": without(tiles.llava, "get_image_features", lambda model: type(model.model)),
    "pixel_values in base_model.get_image_features": (
        tiles.llava,
        lambda patch, model: patch.setattr(type(model.model), "get_image_features", lambda self, *args, **rest: None),
    ),
    "base_model.video_tower": moved(tiles.video_llava, "model.video_tower"),
    "config.video_token_id": (
        tiles.video_llava,
        lambda patch, model: patch.setattr(model, "config", Renamed(model.config, "video_token")),
    ),
    "base_model.get_video_features": without(tiles.video_llava, "get_video_features", lambda model: type(model.model)),
    "pixel_values_videos in base_model.get_video_features": (
        tiles.video_llava,
        lambda patch, model: patch.setattr(type(model.model), "get_video_features", lambda self, *args, **rest: None),
    ),
    "base_model.pack_image_features": without(crops.llava_next, "pack_image_features", lambda model: type(model.model)),
    "AttentionInterface.register": (
        tiles.llava,
        lambda patch, model: patch.delattr(modeling_utils, "AttentionInterface"),
    ),
    "encoder.layers.{}.self_attn or vision_model.encoder.layers.{}.self_attn in base_model.vision_tower": moved(
        tiles.llava, "model.vision_tower.encoder.layers"
    ),
    "get_interface in CLIPAttention.forward": (
        tiles.llava,
        lambda patch, model: patch.setattr(type(attention(model)), "forward", hardwired),
    ),
    "_attn_implementation_internal in its config": (
        tiles.llava,
        lambda patch, model: patch.setattr(attention(model), "config", object()),
    ),
    "cross_attention_states in base_model.language_model.forward": (
        crossed.mllama,
        lambda patch, model: without_argument(patch, type(model.model.language_model), "forward", "states"),
    ),
    "cross_attention_mask in base_model.language_model.forward": (
        crossed.mllama,
        lambda patch, model: without_argument(patch, type(model.model.language_model), "forward", "mask"),
    ),
}


class Renamed:
    """A config that calls the placeholder something else."""

    def __init__(self, config, hidden="image_token"):
        self._config, self._hidden = config, hidden

    def __getattr__(self, name):
        if name in (f"{self._hidden}_id", f"{self._hidden}_index"):
            raise AttributeError(name)
        return getattr(self._config, name)


@pytest.mark.parametrize("seam", SEAMS)
def test_a_seam_that_is_gone_is_said_with_the_version(seam, monkeypatch):
    build, take = SEAMS[seam]
    model = build()
    with monkeypatch.context() as patch:
        take(patch, model)
        with pytest.raises(
            AttachError, match=re.escape(f"under transformers {transformers.__version__} lacks ")
        ) as told:
            tokenprune.attach(model, "divprune")
    found = re.search(r"lacks (.*); it needs transformers 5\.20 or newer", str(told.value))[1].split(", ")
    assert seam in found
    assert "generate" not in vars(model)
    tokenprune.attach(model, "divprune").detach()  # it is there again


def test_every_seam_was_taken_away():
    models = [tiles.llava(), crops.llava_next(), crossed.mllama(), tiles.video_llava()]
    names = {seam for model in models for seam, _ in _seams(family_of(model), model)}
    own = {f"base_model.{path}" for path in ("vision_model", "image_tower")} | {"config.image_token_index"}
    own |= {"pixel_values or pixel_values_images in base_model.get_image_features"}
    own |= {name for name in names if name.endswith(" in base_model.image_tower")}
    of_mllama = {name for name in names if "Mllama" in name or "global_transformer" in name}
    assert names - own - of_mllama == set(SEAMS)


def test_one_layer_with_attention_is_enough():
    model = tiles.llava()
    del model.model.vision_tower.encoder.layers[0].self_attn
    assert all(there for _, there in _seams(family_of(model), model))
