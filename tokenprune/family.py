"""What the framework must know of one model family: a declarative spec, registered by entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from tokenprune.errors import PluginError, UnknownFamily, UnsupportedMode
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Tiles
from tokenprune.refusals import check_not_refused
from tokenprune.registry import catalog, resolve
from tokenprune.video import Video

if TYPE_CHECKING:
    from torch import nn

    from tokenprune.cross_attention import CrossAttention
    from tokenprune.reductions import Reduce

Config = Any  # a transformers configuration; typed Any on purpose
Model = Any  # a transformers model
OLDEST = "5.20"  # the oldest transformers release of which something is proven


@dataclass(frozen=True)
class Tower:
    """What must be known of one kind of vision encoder.

    Args:
        attention: paths from the encoder to the attention of layer ``{}``, the first that exists counts; none: unread.
        cls: where the CLS token stands in the encoder's sequence. None: there is none.
        layout: as in `Family`, where this encoder lays tokens out in a way of its own. None: as the family does.
        reads: cues that are read in a way of their own, by name: from the config, what reduces queries and keys.
        registers: how many tokens without a patch come first where no CLS token is read, from the config.
        patches: end of the path to the convolution that makes its patches, in reading order. Empty: there is none.
    """

    attention: tuple[str, ...] = ("encoder.layers.{}.self_attn", "vision_model.encoder.layers.{}.self_attn")
    cls: Literal["first", "last"] | None = None
    layout: Callable[[Seen], Layout] | None = None
    reads: Mapping[str, Callable[[Config], Reduce]] = field(default_factory=dict)
    registers: Callable[[Config], int] = lambda config: 0
    patches: str = ""


@dataclass(frozen=True)
class Family:
    """One model family, or several that differ in nothing that matters here.

    Args:
        model_types: ``config.model_type`` of the models.
        towers: the vision encoders it is built with, by ``vision_config.model_type``.
        tower: path from the base model to the vision encoder. None: patches are projected as they are, or become codes.
        language_model: path from the base model to the language model. Empty: it is the base model.
        projector: path from the base model to the projector, whose input is the encoder space. None: the
            projected space serves.
        resampler: path from the base model to the attention with which latents look at the encoder's outputs. None:
            tokens are no latents, or it cannot be read.
        placeholder: attribute of the config that holds the placeholder's token id.
        pixels: keyword arguments of ``forward`` that carry images; any of them means there is something to prune.
        per_token: keyword arguments of ``forward`` with one entry a slot, cut together with ``input_ids``.
        feature_layer: the hidden state of the encoder that the language model gets, from the config.
        layout: how encoder outputs become tokens, and tokens feature rows; see `tokenprune.layouts`.
        feature_field: field of the encoder's output that holds the feature rows.
        positions: the default policy for position ids.
        first_position: the first position id that ``forward`` makes by itself.
        policies: the policies that the model can follow; one that counts places by itself takes no ids that are kept.
        cross: how the language model looks at images through cross-attention. None: they stand among its slots.
        method: method of the base model that encodes images.
        renamed, marked: as in `Video`.
        video: how it takes videos. None: a call that brings one reaches the model unpruned.
        inside: why tokens cannot leave between layers of its language model. Empty: nothing in its kind forbids it.
        since: the oldest transformers release that it is proven with; attaching under an older one is refused.
    """

    model_types: tuple[str, ...]
    towers: Mapping[str, Tower]
    tower: str | None = "vision_tower"
    projector: str | None = "multi_modal_projector"
    language_model: str = "language_model"
    resampler: str | None = None
    placeholder: str = "image_token_id"
    pixels: tuple[str, ...] = ("pixel_values",)
    per_token: tuple[str, ...] = ("token_type_ids", "mm_token_type_ids")
    feature_layer: Callable[[Config], int] = field(default=lambda config: deepest(config, config.vision_feature_layer))
    layout: Callable[[Seen], Layout] = field(default=Tiles(grid=lambda config: square(config)))
    feature_field: str = "pooler_output"
    positions: Literal["keep", "renumber"] = "renumber"
    first_position: int = 0
    policies: tuple[str, ...] = ("keep", "renumber")
    cross: CrossAttention | None = None

    @property
    def takes_positions(self) -> bool:
        """Whether the model is given position ids, or left to count by itself."""
        return "keep" in self.policies

    method: str = "get_image_features"
    renamed: Mapping[str, str] = field(default_factory=dict)
    marked: bool = False
    video: Video | None = None
    inside: str = ""
    since: str = OLDEST

    @property
    def modalities(self) -> dict[str, Family]:
        """What can be pruned: ``image``, and ``video`` if it takes videos; for each the family as it is for that."""
        if self.video is None:
            return {"image": self}
        said = {one.name: getattr(self.video, one.name) for one in fields(self.video)}
        said |= {"tower": self.video.tower or self.tower, "video": None}
        towers = {name: replace(tower, layout=None) for name, tower in self.towers.items()}  # that is of images
        return {"image": self, "video": replace(self, **said, towers=towers)}


def deepest(config: Config, layer: int | Sequence[int]) -> int:
    """The last of the hidden states that are used; 0 is the embeddings, negative ones count from the end."""
    states = config.vision_config.num_hidden_layers + 1
    return layer if isinstance(layer, int) else int(max(layer, key=lambda one: one % states))


def square(config: Config) -> tuple[int, int]:
    """(h, w) of the patches of a square image."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    return side, side


def submodule(root: Any, path: str) -> Any:
    """The module at a dotted path; digits may be negative indices, an empty path is the root."""
    for part in filter(None, path.split(".")):
        root = root[int(part)] if part.lstrip("-").isdigit() else getattr(root, part)
    return root


def family_of(model: nn.Module) -> Family:
    """The family registered for a model.

    Raises:
        UnknownFamily: none is.
        RefusedFamily: none is, and a plug-in says why there can be none.
    """
    return named_family(model.config, type(model).__name__)[1]


def named_family(config: Config, model: str) -> tuple[str, Family]:
    """The family registered for a model of this config and class, and the name it is registered under.

    Raises:
        UnknownFamily: none is.
        RefusedFamily: none is, and a plug-in says why there can be none.
    """
    known: dict[str, str] = {}
    for name in catalog("tokenprune.families"):
        try:
            found = resolve("tokenprune.families", name, lambda it: isinstance(it, Family), "a tokenprune.Family")
        except PluginError as problem:
            known[name] = f"{name} (broken: {problem})"
            continue
        assert isinstance(found, Family)
        if config.model_type in found.model_types:
            return name, found
        known[name] = name
    check_not_refused(config, model)
    raise UnknownFamily(
        f"no family is registered for model_type {config.model_type!r} ({model}); there is: "
        f"{', '.join(known.values()) or 'none'}. A family of your own is one file and one entry point in the group "
        "'tokenprune.families'"
    )


def check_policy(family: Family, model: Model, policy: str | None) -> None:
    """A policy for position ids must be one that the model follows; None is the family's own.

    Raises:
        UnsupportedMode: it is not.
    """
    if policy is not None and policy not in family.policies:
        raise UnsupportedMode(
            f"{type(model).__name__} cannot follow positions={policy!r}, because it counts places by itself; use "
            f"positions={' or '.join(map(repr, family.policies))}"
        )


def tower_of(family: Family, model: Model) -> tuple[Any, Tower]:
    """The vision encoder of a model, and what is known of it.

    Raises:
        UnknownFamily: the family is not built with this encoder.
    """
    if family.tower is None:
        return model.base_model, Tower(attention=())
    kind = model.config.vision_config.model_type
    if kind not in family.towers:
        raise UnknownFamily(
            f"{type(model).__name__} has a vision encoder of type {kind!r}; this family is proven with "
            f"{', '.join(family.towers)}"
        )
    return submodule(model.base_model, family.tower), family.towers[kind]
