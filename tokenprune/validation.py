"""Every mistake in a pipeline file, with its line and column."""

from __future__ import annotations

from dataclasses import dataclass

import yaml
from pydantic import ValidationError

from tokenprune.explained import mistakes
from tokenprune.pipeline import Pipeline
from tokenprune.stage import Stage
from tokenprune.written import nodes, place, repeated, values

Where = tuple[int | str, ...]


@dataclass(frozen=True, order=True)
class Mistake:
    """Something in a file that a pipeline may not hold.

    Args:
        line: from 1.
        column: from 1.
        key: of the mapping, as in ``scorer.seed``; empty where the whole file is meant.
        message: what is wrong, and the nearest that would be right.
    """

    line: int
    column: int
    key: str
    message: str


def check_text(text: str) -> list[Mistake]:
    """What is wrong with a pipeline that is written as YAML, from top to bottom; nothing: `load` reads it."""
    try:
        root = nodes(text)
        twice = [Mistake(*_from_one(key.start_mark), key.value, "this key stands here twice") for key in repeated(root)]
        data = values(root)
    except (yaml.YAMLError, ValueError) as problem:
        return [_no_yaml(text, problem)]
    if root is None or not isinstance(data, dict):
        kind = "nothing" if data is None else f"a {type(data).__name__}"
        return [Mistake(1, 1, "", f"this file holds {kind}; a pipeline maps name, scorer, ... to values")]
    return sorted([*twice, *_of_pipeline(root, data)])


def _of_pipeline(root: yaml.Node, data: dict[object, object]) -> list[Mistake]:
    try:
        Pipeline.model_validate(data)
    except ValidationError as problem:
        found = []
        for mistake in mistakes(problem, dict.fromkeys([*Pipeline.model_fields, *Stage.model_fields])):
            where = mistake.where
            if "stages" not in data and where[:1] == ("stages",):
                where = where[2:]  # the keys of one stage at top level
            key = ".".join(map(str, where))
            found.append(Mistake(*place(root, where, mistake.of_key), key, mistake.message))
        return found
    return []


def _no_yaml(text: str, problem: Exception) -> Mistake:
    """What the YAML reader says, where it says it."""
    mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
    said = getattr(problem, "problem", None) or getattr(problem, "reason", None) or str(problem)
    if mark is not None:
        return Mistake(*_from_one(mark), "", f"this is not YAML: {said}")
    before = text[: getattr(problem, "position", 0)]
    return Mistake(before.count("\n") + 1, len(before) - before.rfind("\n"), "", f"this is not YAML: {said}")


def _from_one(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1
