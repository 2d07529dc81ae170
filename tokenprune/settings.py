"""The settings of a strategy in words, told from its fields and its docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tokenprune.named import name_of
from tokenprune.strategy import Strategy

_WORDS = {"bool": "true, false", "int": "whole number", "float": "number", "str": "text", "NoneType": "null"}
_BOUNDS = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}


@dataclass(frozen=True)
class Setting:
    """One setting of a part: its name, what it may be, its default, what it means."""

    name: str
    kind: str
    default: str
    meaning: str

    @classmethod
    def of(cls, name: str, info: FieldInfo, meaning: str) -> Setting:
        """Of a field of a pydantic model."""
        limits = (
            (word, getattr(one, key)) for one in info.metadata for key, word in _BOUNDS.items() if hasattr(one, key)
        )
        kind = " ".join([_kind(info.annotation), *(f"{word} {limit}" for word, limit in limits)])
        return cls(name, kind, _default(info), meaning)


def docstring(cls: type[Strategy]) -> tuple[str, dict[str, str]]:
    """What a class says before its arguments, and what it says of each of them."""
    told, _, args = (inspect.getdoc(cls) or "").partition("\nArgs:\n")
    said = {}
    for one in re.split(r"\n(?=    \S)", "\n" + args):
        name, colon, text = one.strip().partition(": ")
        if colon:
            said[name] = " ".join(text.split())
    return told.strip(), said


def _kind(annotation: Any) -> str:
    """A type in words: the choices of a literal, the alternatives of a union, else its name."""
    origin, choices = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(str(one) for one in choices)
    if origin in (Union, UnionType):
        return " or ".join(_kind(one) for one in choices)
    if origin is tuple:
        return "list of " + " and ".join(dict.fromkeys(_kind(one) for one in choices if one is not Ellipsis))
    if choices:  # annotated
        return _kind(choices[0])
    if isinstance(annotation, type) and issubclass(annotation, Strategy):
        return annotation.group.removeprefix("tokenprune.").removesuffix("s")
    name = getattr(annotation, "__name__", "anything")
    return _WORDS.get(name, name)


def _default(info: FieldInfo) -> str:
    """As YAML has it."""
    if info.is_required():
        return "none: it has to be said"
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Strategy):
        changed = value.model_dump(mode="json", exclude_defaults=True)
        return name_of(value) + "".join(f", {key}: {one}" for key, one in changed.items())
    if isinstance(value, NoneType | bool):
        return str({None: "null", True: "true", False: "false"}[value])
    return str(list(value)) if isinstance(value, tuple) else str(value)
