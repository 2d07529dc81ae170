"""A pipeline: scorer, splitter and diversifier under a budget, as plain YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema

from tokenprune.errors import PipelineError
from tokenprune.explained import explain
from tokenprune.named import BudgetField, name_of
from tokenprune.registry import yaml_of
from tokenprune.selection import Selection
from tokenprune.stage import Stage
from tokenprune.tokens import VisualTokens
from tokenprune.written import plain

Positions = Literal["keep", "renumber"]


class Pipeline(BaseModel):
    """A named stage with its budget and policies; frozen, and the same thing in Python and in YAML.

    Args:
        name: what the receipt calls it.
        stages: exactly one, before the language model. Its keys may stand at top level instead.
        budget: what is kept of each image or video; see `Budget.parse`.
        positions: ``keep`` original position ids or ``renumber`` them. None: the family's default.
        separators: ``keep`` or ``drop`` rows that are no tokens (newlines). None: the family's default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(min_length=1)
    stages: tuple[Stage, ...] = Field(min_length=1, max_length=1)
    budget: BudgetField
    positions: Positions | None = None
    separators: Literal["keep", "drop"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        """Keys of one stage at top level are shorthand for a list of one stage."""
        if not isinstance(data, Mapping):
            return data
        keys = [key for key in Stage.model_fields if key in data]
        if "stages" in data:
            if keys:
                raise ValueError(f"write either 'stages' or the keys of one stage ({', '.join(keys)}), not both")
            return data
        rest = {key: value for key, value in data.items() if key not in keys}
        return rest | {"stages": ({key: data[key] for key in keys},)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema with the shorthand in it."""
        schema = handler.resolve_ref_schema(handler(core))
        stage = handler.resolve_ref_schema(handler(Stage.__pydantic_core_schema__))
        schema["properties"] = {**schema["properties"], **stage["properties"]}
        schema["required"] = ["name", "budget"]
        schema["anyOf"] = [{"required": ["stages"]}, {"required": stage["required"]}]
        return schema

    @property
    def reads(self) -> frozenset[str]:
        """Cues the parts need; they are checked when attaching."""
        return frozenset[str]().union(*(stage.reads for stage in self.stages))

    def select(self, tokens: VisualTokens) -> Selection:
        """Choose the tokens that stay.

        Raises:
            MissingCue: a part reads a cue that ``tokens`` does not have.
        """
        return self.stages[0].select(tokens, self.budget)

    def replace(self, **changes: Any) -> Pipeline:
        """A new, validated pipeline with some keys changed; the keys of its stage count as keys."""
        stage = {} if "stages" in changes else dict(self.stages[0])
        kept = {key: value for key, value in [*self, *stage.items()] if key != "stages"}
        return _validated(kept | changes, f"{self.name!r} with {', '.join(changes) or 'no change'}")

    def _plain(self) -> dict[str, Any]:
        """As a mapping in shorthand, defaults left out."""
        data = self.model_dump(exclude_defaults=True)
        (stage,) = data.pop("stages")
        budget = data.pop("budget")
        return {"name": data.pop("name"), **stage, **data, "budget": budget}

    def to_yaml(self) -> str:
        """The pipeline as a YAML file that `load` reads back as the same pipeline.

        Raises:
            PluginError: a part is registered under no name.
        """
        for part in self.stages[0].parts:
            name_of(part)  # asked here, because pydantic would wrap the error
        return yaml.safe_dump(self._plain(), sort_keys=False, allow_unicode=True)


Source = str | Path | Mapping[str, Any] | Pipeline


def load(source: Source, **changes: Any) -> Pipeline:
    """A pipeline from a registered name, a path to YAML, a mapping, or a pipeline.

    Args:
        source: where it comes from. A text that ends in ``.yaml`` or ``.yml`` is a path.
        **changes: keys to replace, as in ``load("vispruner", budget=64)``.

    Raises:
        PipelineError: it does not validate; the message names the key, the rule and the nearest legal name.
        UnknownName: no pipeline is registered under that name.
        PluginError: two distributions claim it, or the package that holds it is broken.
    """
    if isinstance(source, Pipeline):
        return source.replace(**changes) if changes else source
    if isinstance(source, Mapping):
        return _validated({**source, **changes}, "the mapping")
    if not isinstance(source, str | Path):
        raise PipelineError(f"a pipeline is a name, a path to YAML, a mapping or a Pipeline; got {source!r}")
    if isinstance(source, str) and not source.endswith((".yaml", ".yml")):
        return _from_text(yaml_of(source), source, changes)
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as problem:
        raise PipelineError(f"cannot read the pipeline file {str(source)!r}: {problem}") from problem
    return _from_text(text, str(source), changes)


def _from_text(text: str, where: str, changes: Mapping[str, Any]) -> Pipeline:
    try:
        data = plain(text)
    except (yaml.YAMLError, ValueError) as problem:  # a ValueError: a date that does not exist
        raise PipelineError(f"{where} is not YAML: {problem}") from problem
    if not isinstance(data, dict):
        raise PipelineError(f"{where} holds a {type(data).__name__}; a pipeline maps name, scorer, ... to values")
    return _validated({**data, **changes}, where)


def _validated(data: Mapping[str, Any], where: str) -> Pipeline:
    try:
        return Pipeline.model_validate(data)
    except ValidationError as problem:
        keys = [*Pipeline.model_fields, *Stage.model_fields]
        raise PipelineError(f"{where} is not a pipeline:\n{explain(problem, keys)}") from None
