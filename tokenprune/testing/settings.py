"""What every strategy must be, whatever it does: frozen settings that survive YAML; and all settings worth testing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from tokenprune.strategy import Strategy
from tokenprune.testing.search import require

S = TypeVar("S", bound=Strategy)
_ONE = r"[a-z][a-z0-9_]*(:\d+(\.\d+)?)?(@(-?\d+|\d+(\.\d+)?%|previous|this))?"
_CUE = re.compile(rf"{_ONE}(\|{_ONE})*")


def check_settings(strategy: Strategy, kind: type[Strategy]) -> None:
    """A strategy is a frozen model of that kind, says which cues it reads, and is the same after a trip through YAML.

    Raises:
        AssertionError: it is not; the message names it and the rule.
    """
    who = repr(strategy)
    require(isinstance(strategy, kind), f"{who} is a tokenprune.{kind.__name__}", type(strategy).__mro__)
    config = strategy.model_config
    require(config.get("frozen") is True, f"{who} is frozen, so that a pipeline cannot change under its user")
    require(config.get("extra") == "forbid", f"{who} refuses unknown settings, so that a typo is an error")
    require("use" not in type(strategy).model_fields, f"{who} has no setting called 'use', which names it in YAML")
    reads: object = strategy.reads
    named = isinstance(reads, frozenset) and all(_CUE.fullmatch(name) for name in reads)
    require(named, f"{who}: reads is a frozenset of NAME, NAME@LAYER or alternatives a|b", reads)
    written = yaml.safe_dump(strategy.model_dump(mode="json", exclude_defaults=True))
    again = type(strategy).model_validate(yaml.safe_load(written))
    require(again == strategy, f"{who} is the same after a trip through YAML", again)


def variants(cls: type[S]) -> list[S]:
    """The class with its defaults, then with each choice, switch and bound of each setting in turn.

    ``as_released`` is left alone: it asks for what authors released, even where that breaks a rule.
    """
    default = cls()
    found = [default]
    settings = cls.model_json_schema().get("properties", {})
    for name in sorted(settings.keys() - {"as_released"}):
        for value in _worth_trying(settings[name]):
            try:
                changed = cls.model_validate(default.model_dump() | {name: value})
            except ValidationError:  # two settings that exclude each other
                continue
            if changed not in found:
                found.append(changed)
    return found


def _worth_trying(schema: dict[str, Any]) -> Iterator[Any]:
    for part in (schema, *schema.get("anyOf", ())):
        yield from part.get("enum", ())
        if part.get("type") == "boolean":
            yield from (False, True)
        elif part.get("type") in ("integer", "number"):
            yield from (part[bound] for bound in ("minimum", "maximum") if bound in part)
            yield from (0.5,) if part["type"] == "number" else (1, 3)
