"""What this rests on in transformers, checked by name before anything is touched."""

from __future__ import annotations

import inspect

import torch

from tokenprune.errors import AttachError
from tokenprune.family import Family, Model, submodule
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
    """What a transformers version must have for this to work; said by name when it has not."""
    missing = [seam for seam, there in _seams(family, model).items() if not there]
    if missing:
        from transformers import __version__

        raise AttachError(
            f"{type(model).__name__} under transformers {__version__} lacks {', '.join(missing)}; it needs "
            "transformers 5.19 or newer, and a model that takes encoded images"
        )


def _seams(family: Family, model: Model) -> dict[str, bool]:
    """Each seam by name, and whether it is there."""
    base = getattr(model, "base_model", None)
    if family.cross is not None:
        given = inspect.signature(type(submodule(base, family.language_model)).forward).parameters
        return {f"{name} in the language model": name in given for name in (family.cross.states, family.cross.mask)}
    return {
        "mm_encoder_outputs in forward": "mm_encoder_outputs" in inspect.signature(type(model).forward).parameters,
        "base_model.get_image_features": hasattr(base, "get_image_features"),
        "_prepare_position_ids_for_generation": hasattr(model, "_prepare_position_ids_for_generation"),
    }
