"""tokenprune as a model of lmms-eval: any Hugging Face model with any pipeline, on any of its tasks.

    lmms-eval --model tokenprune --model_args pretrained=DIR_OR_HUB_ID,pipeline=vispruner,budget=64 --tasks pope

lmms-eval finds `manifest` by its entry point; this module imports neither it nor torch before a model is made.
"""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """What lmms-eval wants to know of a model before it is made."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="tokenprune", chat_class_path="tokenprune.measure.lmms_model.Pruned")
