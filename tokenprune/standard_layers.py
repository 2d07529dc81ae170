"""What stages inside the language model rely on, and why some models cannot have them."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from tokenprune.cue_names import LLM_CUES, OF_LAYER, PREVIOUS
from tokenprune.errors import MissingCue, UnsupportedMode
from tokenprune.family import Family, Model, submodule
from tokenprune.pipeline import Pipeline

_READ = frozenset(
    {
        "self",
        "hidden_states",
        "attention_mask",
        "position_ids",
        "past_key_values",
        "use_cache",
        "position_embeddings",
        "output_attentions",
        "output_router_logits",
        "kwargs",
    }
)
_ATTENTION = ("self_attn", "attention", "attn")


def check_inside(family: Family, model: Model, pipeline: Pipeline) -> None:
    """See whether the language model takes stages between its layers, and gives what they read.

    Raises:
        UnsupportedMode: it does not; the message says why.
        PipelineError: it has not the layers that the pipeline names.
        BudgetError: they are too few for the average that it asks for.
        MissingCue: a stage reads what it does not give.
    """
    if PREVIOUS in pipeline.stages[0].reads:
        raise MissingCue(f"{pipeline.name!r} reads the scores of the stage before its first one; put a stage there")
    if not pipeline.inside:
        return
    if why := reason(family, model):
        raise UnsupportedMode(
            f"{pipeline.name!r} drops tokens inside the language model, and {type(model).__name__} does not allow "
            f"that: {why}. Take a pipeline that drops them before it, such as 'vispruner'"
        )
    language = submodule(model.base_model, family.language_model)
    pipeline.plan(len(language.layers)).check()
    for stage in pipeline.inside:
        for wish in stage.reads_inside:
            _check_cue(pipeline.name, wish)
        if stage.space == "normed" and not hasattr(language, "norm"):
            raise MissingCue(f"{pipeline.name!r} measures in normed space; {type(language).__name__} has no norm")
    if pipeline.positions == "renumber" and not _turns(language):
        raise UnsupportedMode(
            f"{type(language).__name__} has no rotary_emb(states, position_ids), so its position ids cannot be "
            "numbered anew between layers; write positions: keep"
        )


def _check_cue(name: str, wish: str) -> None:
    for one in wish.split("|"):
        kind, _, where = one.partition("@")
        if kind in LLM_CUES and where not in (("", "previous", "this") if kind in OF_LAYER else ("",)):
            raise MissingCue(f"{name!r} reads {one!r}; inside the language model write {kind}@previous or {kind}@this")


def reason(family: Family, model: Model) -> str:
    """Why tokens cannot leave between the layers of this language model; nothing if they can."""
    if family.cross is not None:
        return "its images are no part of the prompt, it looks at them through cross-attention"
    if family.inside:
        return family.inside
    if not family.takes_positions:
        return "it counts places by itself, and its layers would count those of dropped tokens"
    language = submodule(model.base_model, family.language_model)
    layers: Any = getattr(language, "layers", ())
    config = language.config
    if not len(layers):
        return f"{type(language).__name__} has no list of layers"
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        return f"some of its layers have {', '.join(sorted(kinds))}, whose windows and states count dropped tokens"
    if getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None):
        return "its layers have sliding windows, which count dropped tokens"
    streams = [name for name in inspect.signature(type(language).forward).parameters if "deepstack" in name]
    if streams and not hasattr(language, "_deepstack_process"):
        return f"it adds {', '.join(streams)} between its layers in a way of its own"
    named = inspect.signature(type(layers[0]).forward).parameters
    if strange := sorted(set(named) - _READ):
        return f"its layers are given {', '.join(strange)}, which nobody knows how to shorten"
    if "position_embeddings" not in named:
        return "its layers make rotary positions by themselves"
    if config._attn_implementation == "flex_attention":
        return "flex_attention has block masks, which cannot be cut; load it with attn_implementation='sdpa'"
    return ""


def attention_of(layer: Any) -> Any:
    """The attention of a layer of the language model.

    Raises:
        MissingCue: it has none under a usual name.
    """
    found = next((getattr(layer, name) for name in _ATTENTION if hasattr(layer, name)), None)
    if found is None:
        raise MissingCue(f"{type(layer).__name__} has none of {', '.join(_ATTENTION)}, so its attention cannot be read")
    return found


def _turns(language: Any) -> bool:
    rotary = getattr(language, "rotary_emb", None)
    return rotary is not None and {*inspect.signature(type(rotary).forward).parameters} == {"self", "x", "position_ids"}


def turned(language: Any, states: Tensor, ids: Tensor) -> Any:
    """Cosine and sine of the rotary positions ``ids`` [B, S]."""
    return language.rotary_emb(states, ids)
