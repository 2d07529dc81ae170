"""What this rests on in transformers, checked by name before anything is touched."""

from __future__ import annotations

import inspect

import torch

from tokenprune.errors import AttachError
from tokenprune.family import Model


def unwrapped(model: Model) -> Model:
    """The transformers model inside a PEFT wrapper; other wrappers are refused by name."""
    if hasattr(model, "get_base_model"):  # PEFT runs the model inside, adapters and all
        model = model.get_base_model()
    name = type(model).__name__
    if hasattr(model, "_orig_mod"):
        raise AttachError(
            f"{name} is a compiled wrapper; attach the model inside it (model._orig_mod) before compiling"
        )
    if isinstance(getattr(model, "module", None), torch.nn.Module):
        raise AttachError(f"{name} is a parallel wrapper; attach the model inside it (model.module)")
    if not hasattr(model, "config") or not hasattr(model, "generate"):
        raise AttachError(
            f"{name} is not a transformers model with generate(); load it with AutoModelForImageTextToText"
        )
    return model


def check_seams(model: Model) -> None:
    """What a transformers version must have for this to work; said by name when it has not."""
    base = getattr(model, "base_model", None)
    missing = [
        seam
        for seam, there in {
            "mm_encoder_outputs in forward": "mm_encoder_outputs" in inspect.signature(model.forward).parameters,
            "base_model.get_image_features": hasattr(base, "get_image_features"),
            "_prepare_position_ids_for_generation": hasattr(model, "_prepare_position_ids_for_generation"),
        }.items()
        if not there
    ]
    if missing:
        from transformers import __version__

        raise AttachError(
            f"{type(model).__name__} under transformers {__version__} lacks {', '.join(missing)}; it needs "
            "transformers 5.19 or newer, and a model that takes encoded images"
        )
