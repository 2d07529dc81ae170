"""What this rests on in transformers, checked by name before anything is touched."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from packaging.version import Version

from tokenprune.errors import AttachError
from tokenprune.family import Family, Model, submodule, tower_of
from tokenprune.layouts import Packed
from tokenprune.refusals import check_not_refused


def unwrapped(model: Model) -> Model:
    """The transformers model inside a PEFT wrapper; other wrappers are refused by name.

    Raises:
        AttachError: it is another wrapper, or no transformers model.
        RefusedFamily: it cannot generate, and a table of refusals says why.
    """
    _refuse_wrapper(model)  # first: some of them pretend to have what is inside
    if hasattr(model, "get_base_model"):  # PEFT runs the model inside, adapters and all
        model = model.get_base_model()
        _refuse_wrapper(model)
    if not hasattr(model, "config") or not hasattr(model, "generate"):
        check_not_refused(getattr(model, "config", None), type(model).__name__)
        raise AttachError(
            f"{type(model).__name__} is not a transformers model with generate(); load it with "
            "AutoModelForImageTextToText"
        )
    return model


def _refuse_wrapper(model: Model) -> None:
    name = type(model).__name__
    if hasattr(model, "_orig_mod"):
        raise AttachError(f"{name} is a compiled wrapper; attach the model inside it (model._orig_mod) and keep both")
    if isinstance(model, torch.nn.DataParallel):
        raise AttachError(
            f"{name} copies the model at every call, and the copies would all drive the first one; use one process for "
            "each device, with DistributedDataParallel or without"
        )
    if isinstance(getattr(model, "module", None), torch.nn.Module):
        raise AttachError(f"{name} is a parallel wrapper; attach the model inside it (model.module) and keep both")


def check_seams(family: Family, model: Model) -> None:
    """What a transformers version and a model of it must have for this to work; all that it has not is said by name.

    Raises:
        AttachError: something is missing, or the family is proven with newer releases alone.
        UnknownFamily: the family is not built with this encoder.
    """
    from transformers import __version__

    here = f"{type(model).__name__} under transformers {__version__}"
    if Version(__version__).release < Version(family.since).release:
        raise AttachError(
            f"{here}: model_type {model.config.model_type!r} is proven with transformers {family.since} or newer; "
            f"pip install 'transformers>={family.since}'"
        )
    missing = [seam for seam, there in _seams(family, model) if not there]
    if missing:
        raise AttachError(
            f"{here} lacks {', '.join(missing)}; it needs transformers {family.since} or newer, and a model that takes "
            "encoded images. A much newer release may have moved what is missing: take an older one, or a newer "
            "tokenprune"
        )


Seams = Iterator[tuple[str, bool]]


def _seams(family: Family, model: Model) -> Seams:
    """Each seam by name, and whether it is there."""
    base = getattr(model, "base_model", None)
    every = family.modalities.values()
    for path in dict.fromkeys((*(one.tower for one in every), family.projector, family.language_model)):
        if path is not None:
            yield f"base_model.{path}", _has(base, path)
    for placeholder in dict.fromkeys(one.placeholder for one in every):
        yield f"config.{placeholder}", hasattr(model.config, placeholder)
    for name in ("prepare_inputs_for_generation", "_prepare_position_ids_for_generation"):
        yield name, hasattr(model, name)
    yield from _encoded(family, model, base) if family.cross is None else _looked_at(family, base)
    if family.tower is not None:
        sees = getattr(model.config, "vision_config", None) is not None  # some are built for text alone
        yield "config.vision_config", sees
        if sees and _has(base, family.tower):
            yield from _read(family, model, base)


def _encoded(family: Family, model: Model, base: Any) -> Seams:
    """Encoded images and videos are handed on: by ``generate`` as it makes them, to its beams, and to ``forward``."""
    yield "mm_encoder_outputs in forward", "mm_encoder_outputs" in _arguments(type(model).forward)
    for name in ("_prepare_multimodal_encoder_kwargs_for_generation", "_expand_multimodal_outputs"):
        yield name, hasattr(model, name)
    for one in family.modalities.values():
        function = getattr(base, one.method, None)
        yield f"base_model.{one.method}", function is not None
        if function is not None:
            names = {one.renamed.get(name, name) for name in _arguments(function)}
            yield f"{' or '.join(one.pixels)} in base_model.{one.method}", bool(names & {*one.pixels})


def _looked_at(family: Family, base: Any) -> Seams:
    """The language model is handed states, and a mask of their columns."""
    cross = family.cross
    if cross is None or not _has(base, family.language_model):
        return
    for name in (cross.states, cross.mask):
        where = f"{name} in base_model.{family.language_model}.forward"
        yield where, name in _arguments(type(submodule(base, family.language_model)).forward)


def _read(family: Family, model: Model, base: Any) -> Seams:
    """Attention is looked up by a name in the module's config; crops are packed by the model's own code."""
    from transformers import modeling_utils

    encoder, spec = tower_of(family, model)
    if isinstance(spec.layout or family.layout, Packed):
        yield "base_model.pack_image_features", hasattr(base, "pack_image_features")
    if not spec.attention:
        return
    yield "AttentionInterface.register", hasattr(getattr(modeling_utils, "AttentionInterface", None), "register")
    attention = next((found for path in spec.attention for found in _attentions(encoder, path)), None)
    yield f"{' or '.join(spec.attention)} in base_model.{family.tower}", attention is not None
    if attention is not None:
        code = inspect.unwrap(type(attention).forward).__code__
        yield f"get_interface in {type(attention).__name__}.forward", "get_interface" in code.co_names
        internal = "_attn_implementation_internal"
        yield f"{internal} in its config", hasattr(getattr(attention, "config", None), internal)


def _attentions(encoder: Any, path: str) -> list[Any]:
    """The attention of every layer that has one."""
    stem, _, attention = path.partition(".{}.")
    layers = submodule(encoder, stem) if _has(encoder, stem) else ()
    return [submodule(layer, attention) for layer in layers if _has(layer, attention)]


def _has(root: Any, path: str) -> bool:
    try:
        submodule(root, path)
    except (AttributeError, IndexError, KeyError):
        return False
    return True


def _arguments(function: Any) -> Mapping[str, Any]:
    return inspect.signature(function).parameters
