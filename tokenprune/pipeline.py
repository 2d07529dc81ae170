"""A pipeline: stages under a budget, as plain YAML."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema

from tokenprune.budget import Budget
from tokenprune.cue_names import PREVIOUS
from tokenprune.described import pipeline_schema
from tokenprune.errors import PipelineError
from tokenprune.hub import OnHub
from tokenprune.named import BudgetField, explain, name_of
from tokenprune.registry import yaml_of
from tokenprune.schedule import Plan, Schedule
from tokenprune.selection import Selection
from tokenprune.site import LlmLayer, is_inside
from tokenprune.stage import Stage, check_stages, without_default_space
from tokenprune.tokens import VisualTokens
from tokenprune.written import plain

Positions = Literal["keep", "renumber"]


class Pipeline(OnHub, BaseModel):
    """Named stages with their budget and policies; frozen, and the same thing in Python and in YAML.

    Args:
        name: what the receipt calls it.
        stages: at most one before the language model, and any number before layers of it, in that order. The keys of
            one stage may stand at top level instead.
        budget: what is kept of each image or video; see `Budget.parse`. With stages inside the language model it is the
            average over its layers; None: each stage keeps what its own budget says.
        schedule: how stages inside the language model follow from the budget; see `Plan`.
        positions: ``keep`` original position ids or ``renumber`` them. None: the family's default.
        separators: ``keep`` or ``drop`` rows that are no tokens (newlines). None: keep.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(min_length=1)
    stages: tuple[Stage, ...] = Field(min_length=1)
    budget: BudgetField | None
    schedule: Schedule = "scaled"
    positions: Positions | None = None
    separators: Literal["keep", "drop"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        """Keys of one stage at top level are shorthand for a list of one stage."""
        if not isinstance(data, Mapping):
            return data
        keys = [key for key in Stage.model_fields if key in data and key != "budget"]
        if "stages" in data:
            if keys:
                raise ValueError(f"write either 'stages' or the keys of one stage ({', '.join(keys)}), not both")
            stages = data["stages"] if isinstance(data["stages"], list | tuple) else ()
            return {"budget": None, **data} if any(map(is_inside, stages)) else data
        rest = {key: value for key, value in data.items() if key not in keys}
        return rest | {"stages": ({key: data[key] for key in keys},)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema with the shorthand in it."""
        stage = handler.resolve_ref_schema(handler(Stage.__pydantic_core_schema__))
        return pipeline_schema(handler.resolve_ref_schema(handler(core)), stage)

    @model_validator(mode="after")
    def _stages_in_order(self) -> Self:
        """Before the language model at most one stage, the first; and every budget where it has a meaning."""
        check_stages(self.stages, self.budget, self.schedule)
        return self

    @property
    def inside(self) -> tuple[Stage, ...]:
        """The stages inside the language model."""
        return tuple(stage for stage in self.stages if stage.inside)

    @property
    def kept(self) -> Budget:
        """The budget of the pipeline, or of its first stage where it has none."""
        budget = self.budget or self.stages[0].budget
        assert budget is not None  # as `_stages_in_order` saw to
        return budget

    @property
    def adaptive(self) -> bool:
        """Whether the budget is the most that may stay, and fewer may."""
        return any(stage.adaptive for stage in self.stages)

    @property
    def entry(self) -> Stage | None:
        """The stage before the language model."""
        return None if self.stages[0].inside else self.stages[0]

    def plan(self, depth: int) -> Plan:
        """What each stage keeps in a language model of ``depth`` layers.

        Raises:
            PipelineError: it has no such layer, or two stages run before the same one.
        """
        layers = tuple(stage.site.of(depth) if isinstance(stage.site, LlmLayer) else 0 for stage in self.stages)
        if any(after <= before for before, after in pairwise(layers)):
            raise PipelineError(
                f"{self.name!r} has stages before layers {', '.join(map(str, layers))} of {depth} (0: before the "
                "language model); they must ascend, so write other layers, or fewer stages for so shallow a model"
            )
        return Plan(layers, depth, tuple(stage.budget for stage in self.stages), self.budget, self.schedule)

    @property
    def reads(self) -> frozenset[str]:
        """Cues the parts need; they are checked when attaching."""
        return frozenset[str]().union(*(stage.reads for stage in self.stages))

    @property
    def reads_outside(self) -> frozenset[str]:
        """Those of them that are read before the language model."""
        return frozenset[str]().union(*(stage.reads - stage.reads_inside for stage in self.stages)) - {PREVIOUS}

    def select(self, tokens: VisualTokens) -> Selection:
        """Choose the tokens that stay.

        Raises:
            MissingCue: a part reads a cue that ``tokens`` does not have.
            PipelineError: it has several stages, which read a model at several places.
        """
        if len(self.stages) > 1:
            raise PipelineError(
                f"{self.name!r} has {len(self.stages)} stages, each of which reads the model at its own place; attach "
                "it, or ask one of them: pipeline.stages[0].select(tokens, Budget.parse(64))"
            )
        return self.stages[0].select(tokens, self.kept)

    def replace(self, **changes: Any) -> Pipeline:
        """A new, validated pipeline with some keys changed; the keys of its stage count as keys."""
        what = f"{self.name!r} with {', '.join(changes) or 'no change'}"
        if len(self.stages) > 1 or "stages" in changes or self.stages[0].budget is not None:
            return _validated({**dict(self), **changes}, what)
        stage = {key: value for key, value in self.stages[0] if key != "budget"}
        return _validated({**dict(self), **stage, **changes}, what, without="stages")

    def _plain(self) -> dict[str, Any]:
        """As a mapping in shorthand, defaults left out."""
        data = self.model_dump(exclude_defaults=True)
        stages = [without_default_space(stage) for stage in data.pop("stages")]
        several = len(stages) > 1 or "budget" in stages[0]
        budget = {"budget": data.pop("budget")} if "budget" in data else {}
        return {"name": data.pop("name"), **({"stages": stages} if several else stages[0]), **data, **budget}

    def to_yaml(self) -> str:
        """The pipeline as a YAML file that `load` reads back as the same pipeline.

        Raises:
            PluginError: a part is registered under no name.
        """
        for part in (part for stage in self.stages for part in stage.parts):
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


def _validated(data: Mapping[str, Any], where: str, without: str = "") -> Pipeline:
    data = {key: value for key, value in data.items() if key != without}
    try:
        return Pipeline.model_validate(data)
    except ValidationError as problem:
        keys = list(dict.fromkeys([*Pipeline.model_fields, *Stage.model_fields]))
        raise PipelineError(f"{where} is not a pipeline:\n{explain(problem, keys)}") from None
