"""The JSON schema of a pipeline file as editors like it: told what each key means, and small.

`Pipeline.model_json_schema` is the same schema as pydantic writes it. Here what the docstrings say of settings stands
beside them, what occurs twice is written once, and the dialect is draft 7, which every editor reads.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tokenprune.pipeline import Pipeline

Schema = dict[str, Any]
WORTH = 300  # characters from which on what occurs twice is written once
_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def editor_schema() -> Schema:
    """The JSON schema (draft 7) of a pipeline, with every strategy that is installed, third-party ones too."""
    told = _told(Pipeline.model_json_schema())
    stage = told["$defs"]["Stage"]["properties"]  # its keys may stand at top level, and it says what they mean
    told["properties"] = {
        name: below if "description" in below else stage.get(name, below) for name, below in told["properties"].items()
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#"} | _without_unused(_shared(told))


def _changed(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A copy in which the schemas right below are changed; those that are only true or false are left alone."""

    def changed(below: Any) -> Any:
        return change(below) if isinstance(below, dict) else below

    copy = dict(schema)
    for key in copy.keys() & {"properties", "$defs"}:
        copy[key] = {name: changed(below) for name, below in copy[key].items()}
    for key in copy.keys() & {"anyOf", "oneOf", "allOf", "prefixItems"}:
        copy[key] = [changed(below) for below in copy[key]]
    for key in copy.keys() & {"items", "additionalProperties"}:
        copy[key] = changed(copy[key])
    return copy


def _told(schema: Schema) -> Schema:
    """With what a docstring says of each setting moved to that setting, and in draft 7."""
    copy = _changed(schema, _told)
    about, _, rest = copy.get("description", "").partition("\n\nArgs:\n")
    told = {name: _flowing(text) for name, text in _ARGUMENT.findall(rest)}
    if about:
        copy["description"] = _flowing(about)
    if "properties" in copy:
        copy["properties"] = {
            name: _titled(name, below) | ({"description": told[name]} if name in told else {})
            for name, below in copy["properties"].items()
        }
    if "prefixItems" in copy:
        copy |= {"additionalItems": copy.get("items", False), "items": copy.pop("prefixItems")}
    return copy


def _flowing(text: str) -> str:
    """Paragraphs on a line each."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _titled(name: str, schema: Schema) -> Schema:
    """With the key for a title where it is long, so that it can be referred to; without one that only repeats it."""
    if len(_written(schema)) >= WORTH:
        return {"title": name} | schema
    repeats = schema.get("title") == name.replace("_", " ").title()
    return {key: value for key, value in schema.items() if key != "title" or not repeats}


def _shared(schema: Schema) -> Schema:
    """With what occurs twice among the definitions."""
    often = Counter(_written(below) for below in _all(schema))
    names: dict[str, str] = {}
    definitions: Schema = {}

    def shared(below: Schema) -> Schema:
        text = _written(below)
        if often[text] < 2 or len(text) < WORTH:
            return _changed(below, shared)
        if text not in names:
            title = below.get("title", "part")
            taken = sum(name.rstrip("0123456789") == title for name in definitions)
            names[text] = f"{title}{taken + 1 if taken else ''}"
            definitions[names[text]] = {}
            definitions[names[text]] = _changed(below, shared)
        return {"$ref": f"#/$defs/{names[text]}"}

    old = schema.get("$defs", {})
    definitions |= {name: {} for name in old}
    definitions |= {name: _changed(below, shared) for name, below in old.items()}
    copy = _changed({key: value for key, value in schema.items() if key != "$defs"}, shared)
    return copy | {"$defs": dict(sorted(definitions.items()))}


def _written(schema: Schema) -> str:
    return json.dumps(schema, sort_keys=True)


def _all(schema: Schema) -> Iterator[Schema]:
    """Every schema in a schema, itself left out."""
    found: list[Schema] = []

    def note(below: Schema) -> Schema:
        found.append(below)
        return _changed(below, note)

    _changed(schema, note)
    return iter(found)


def _without_unused(schema: Schema) -> Schema:
    """Without definitions that nothing refers to."""
    while True:
        used = set(re.findall(r'"#/\$defs/([^"]+)"', _written(schema)))
        kept = {name: below for name, below in schema["$defs"].items() if name in used}
        if len(kept) == len(schema["$defs"]):
            return schema
        schema = schema | {"$defs": kept}
