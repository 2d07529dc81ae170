"""What a JSON schema has to say of pipelines beyond the types of their keys."""

from __future__ import annotations

from typing import Any

_SET: dict[str, Any] = {"not": {"type": "null"}}
_INSIDE: dict[str, Any] = {"required": ["site"], "properties": {"site": {"type": "object"}}}


def _needs(*names: str) -> dict[str, Any]:
    return {"required": list(names), "properties": dict.fromkeys(names, _SET)}


def stage_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A stage has a splitter, or runs inside the language model."""
    schema.pop("required", None)
    return {**schema, "anyOf": [_needs("splitter"), _INSIDE]}


def pipeline_schema(schema: dict[str, Any], stage: dict[str, Any]) -> dict[str, Any]:
    """A pipeline with the keys of one stage, or with stages; and a budget, or one for each stage inside the model."""
    alone = {"properties": {"site": {"type": "object"}, "budget": _SET}, "required": ["site", "budget"]}
    own = {"required": ["stages"], "properties": {"stages": {"items": {"allOf": [_INSIDE, _needs("budget")]}}}}
    ways = [_needs("splitter", "budget"), alone, _needs("stages", "budget"), own]
    properties = {**stage["properties"], **schema["properties"]}
    properties["stages"] = {**properties["stages"], "allOf": [{"prefixItems": [True], "items": _INSIDE}]}
    return {**schema, "properties": properties, "required": ["name"], "anyOf": ways}
