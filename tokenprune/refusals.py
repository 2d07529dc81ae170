"""Models that cannot be pruned, and why: tables registered in the group ``tokenprune.refusals``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenprune.errors import PluginError, RefusedFamily
from tokenprune.registry import catalog, resolve

Config = Any  # a transformers configuration; typed Any on purpose


def refusal(model_type: str) -> str | None:
    """Why models of a type cannot be pruned, as tables in the group ``tokenprune.refusals`` say. None: none does."""
    for name in catalog("tokenprune.refusals"):
        try:
            table = resolve("tokenprune.refusals", name, is_table, "a mapping of model types to reasons")
        except PluginError:
            continue
        assert isinstance(table, Mapping)
        if model_type in table:
            return str(table[model_type])
    return None


def check_not_refused(config: Config, model: str) -> None:
    """See whether a table of refusals names a model of this config and class.

    Raises:
        RefusedFamily: one does.
    """
    if reason := refusal(getattr(config, "model_type", "")):
        raise RefusedFamily(
            f"{model} (model_type {config.model_type!r}) cannot be pruned: {reason}. Unattached it runs as ever; "
            "'tokenprune list' names the families that can be pruned"
        )


def is_table(found: object) -> bool:
    """Whether a plug-in's object can be a table of refusals: model types to texts."""
    return isinstance(found, Mapping) and all(isinstance(text, str) for pair in found.items() for text in pair)
