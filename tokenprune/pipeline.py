"""A pipeline: scorer, splitter and diversifier under a budget, as plain YAML."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema

from tokenprune.budget import Budget
from tokenprune.errors import PipelineError
from tokenprune.named import BudgetField, Named, explain
from tokenprune.pool import Pool
from tokenprune.registry import find
from tokenprune.strategy import BudgetSplitter, Diversifier, Scorer
from tokenprune.tokens import Selection, Split, VisualTokens, top

Space = Literal["encoder", "projected"]
Positions = Literal["keep", "renumber"]


class Stage(BaseModel):
    """One choice: score, keep the important ones, fill up with diverse ones.

    Args:
        scorer: importance of each token. None: all alike.
        splitter: how the budget is divided over rows and between important and diverse.
        diversifier: who chooses the diverse ones. None: the whole budget is important.
        space: where similarity is measured: the vision encoder's output, or the projector's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    scorer: Named[Scorer] | None = None
    splitter: Named[BudgetSplitter]
    diversifier: Named[Diversifier] | None = None
    space: Space = "encoder"
    site: Literal["pre_llm"] = "pre_llm"

    @property
    def reads(self) -> frozenset[str]:
        """Cues the parts need."""
        parts = (self.scorer, self.splitter, self.diversifier)
        return frozenset[str]().union(*(part.reads for part in parts if part is not None))

    def select(self, tokens: VisualTokens, budget: Budget) -> Selection:
        """Choose the tokens that stay; exact in every unit of the budget."""
        units = [rows for rows, _ in budget.units(tokens)]
        if self.splitter.pools and any(len(rows) > 1 for rows in units):
            pool = Pool.of(tokens, units)
            return pool.spread(self._select(pool.tokens(tokens, units), budget))
        return self._select(tokens, budget)

    def _select(self, tokens: VisualTokens, budget: Budget) -> Selection:
        scores = tokens.features.new_zeros(tokens.shape).float()
        if self.scorer is not None:
            scores = self.scorer.score(tokens).float()
        split = self.splitter.split(tokens, scores, budget)
        if self.diversifier is None or not split.diverse.any():
            split = Split(split.total, split.diverse * 0)
        important = top(scores, split.important, tokens.valid)  # [B, N]
        if self.diversifier is None or not split.diverse.any():
            return Selection(important, important & False)
        return Selection(important, self.diversifier.choose(tokens, scores, important, split))


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
        return {key: value for key, value in data.items() if key not in keys} | {
            "stages": ({key: data[key] for key in keys},)
        }

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
        return _validated(self._plain() | changes, f"{self.name!r} with {', '.join(changes) or 'no change'}")

    def _plain(self) -> dict[str, Any]:
        """As a mapping in shorthand, defaults left out."""
        data = self.model_dump(exclude_defaults=True)
        (stage,) = data.pop("stages")
        budget = data.pop("budget")
        return {"name": data.pop("name"), **stage, **data, "budget": budget}

    def to_yaml(self) -> str:
        """The pipeline as a YAML file that `load` reads back as the same pipeline."""
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
    """
    if isinstance(source, Pipeline):
        return source.replace(**changes) if changes else source
    if isinstance(source, Mapping):
        return _validated({**source, **changes}, "the mapping")
    if isinstance(source, Path) or source.endswith((".yaml", ".yml")):
        path = Path(source)
        if not path.is_file():
            raise PipelineError(f"no pipeline file at {str(path)!r}")
        return _from_text(path.read_text(encoding="utf-8"), str(path), changes)
    return _from_text(yaml_of(source), source, changes)


def yaml_of(name: str) -> str:
    """The YAML text of a registered pipeline, comments included."""
    package = find("tokenprune.pipelines", name).value
    try:
        return files(package).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    except (ImportError, OSError) as problem:
        raise PipelineError(f"the pipeline {name!r} is registered to {package!r}, where {problem}") from problem


def _from_text(text: str, where: str, changes: Mapping[str, Any]) -> Pipeline:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise PipelineError(f"{where} is not YAML: {problem}") from problem
    if not isinstance(data, dict):
        raise PipelineError(
            f"{where} holds a {type(data).__name__}; a pipeline is a mapping of name, scorer, splitter, ..."
        )
    return _validated({**data, **changes}, where)


def _validated(data: Mapping[str, Any], where: str) -> Pipeline:
    try:
        return Pipeline.model_validate(data)
    except ValidationError as problem:
        keys = [*Pipeline.model_fields, *Stage.model_fields]
        raise PipelineError(f"{where} is not a pipeline:\n{explain(problem, keys)}") from None
