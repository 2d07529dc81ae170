"""Fields written as people say them: strategies as ``name`` or ``{use: name, ...}``, budgets as ``64`` or ``11.1%``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, PlainValidator, ValidationError
from pydantic import WithJsonSchema as JsonSchema
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tokenprune.budget import Budget
from tokenprune.errors import PluginError, TokenpruneError
from tokenprune.explained import Mistake, mistakes
from tokenprune.explained import explain as explain
from tokenprune.registry import catalog, resolve
from tokenprune.strategy import Strategy

S = TypeVar("S", bound=Strategy)


def strategy_class(kind: type[S], name: str) -> type[S]:
    """The strategy of that kind registered as ``name``; errors as in `registry.resolve`."""

    def fits(found: object) -> bool:
        return isinstance(found, type) and issubclass(found, kind)

    return resolve(kind.group, name, fits, f"a subclass of tokenprune.{kind.__name__}")  # type: ignore[return-value]


def name_of(strategy: Strategy) -> str:
    """The name its class is registered under.

    Raises:
        PluginError: it is registered under none, so it cannot be written to YAML.
    """
    cls = type(strategy)
    for name, points in catalog(cls.group).items():
        if any(point.value == f"{cls.__module__}:{cls.__qualname__}" for point in points):
            return name
    raise PluginError(
        f"{cls.__name__} is not registered, so YAML cannot name it; add an entry point in the group {cls.group!r}"
    )


class _ByName:
    """Write a strategy as ``name`` or ``{use: name, ...settings}``; the annotated type gives the group."""

    def __get_pydantic_core_schema__(self, kind: type[Strategy], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: _build(kind, value),
            metadata={"kind": kind},
            serialization=core_schema.plain_serializer_function_ser_schema(_dump),
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _schema(core["metadata"]["kind"], handler)


def _build(kind: type[Strategy], value: object) -> Strategy:
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        value = {"use": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("use"), str):
        raise _refusal(f"write a name, or a mapping with 'use' and settings; got {value!r}")
    settings = {key: setting for key, setting in value.items() if key != "use"}
    try:
        cls = strategy_class(kind, value["use"])
    except TokenpruneError as problem:
        raise _refusal(str(problem)) from problem
    try:
        return cls.model_validate(settings)
    except ValidationError as problem:
        said = f"settings of {value['use']!r}: {explain(problem, cls.model_fields).strip()}"
        raise _refusal(said, mistakes(problem, cls.model_fields)) from None


def _refusal(message: str, within: list[Mistake] | None = None) -> PydanticCustomError:
    return PydanticCustomError("tokenprune", "{message}", {"message": message, "within": within or []})


def _dump(value: Strategy) -> Any:
    settings = value.model_dump(mode="json", exclude_defaults=True)
    return {"use": name_of(value), **settings} if settings else name_of(value)


_WITHIN: ContextVar[frozenset[str]] = ContextVar("groups whose strategies are being described", default=frozenset())


def _schema(kind: type[Strategy], handler: GetJsonSchemaHandler) -> dict[str, Any]:
    """Every strategy that is installed, with its settings; broken plug-ins are left out.

    Strategies that are settings of strategies are told by name, with settings of any kind: they may hold one another.
    """
    if kind.group in _WITHIN.get():
        names = {"enum": list(_working(kind))}
        return {"anyOf": [names, {"type": "object", "properties": {"use": names}, "required": ["use"]}]}
    outer = _WITHIN.set(_WITHIN.get() | {kind.group})
    options = {}
    try:
        for name, cls in _working(kind).items():
            with suppress(PydanticInvalidForJsonSchema):
                options[name] = _option(name, cls, handler)
    finally:
        _WITHIN.reset(outer)
    return {"anyOf": [{"type": "string", "enum": list(options)}, *options.values()]}


def _working(kind: type[S]) -> dict[str, type[S]]:
    found = {}
    for name in catalog(kind.group):
        with suppress(PluginError):
            found[name] = strategy_class(kind, name)
    return found


def _option(name: str, cls: type[Strategy], handler: GetJsonSchemaHandler) -> dict[str, Any]:
    """Asked of the handler, so that what the settings refer to lands among the definitions of the whole schema."""
    schema = handler.resolve_ref_schema(handler(cls.__pydantic_core_schema__))
    properties = {"use": {"const": name}, **schema.get("properties", {})}
    return schema | {"properties": properties, "required": ["use", *schema.get("required", [])]}


if TYPE_CHECKING:
    Named = Annotated[S, "written by name"]
else:
    Named = Annotated[S, _ByName()]

_BUDGET = r"^\s*\+?([0-9]+\.?[0-9]*|\.[0-9]+)\s*%?(\s*per\s+(image|row|prompt))?\s*$"
BudgetField = Annotated[
    Budget,
    PlainValidator(lambda value: Budget.parse(value)),
    PlainSerializer(lambda budget: int(budget.amount) if str(budget).isdigit() else str(budget)),
    JsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {
                    "type": "string",
                    "pattern": _BUDGET,
                },
            ]
        }
    ),
]
