"""What pydantic found wrong, in our words: where, what, and the nearest legal key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tokenprune.registry import suggest

Where = tuple[int | str, ...]  # keys and indices
_TAG = re.compile(r"^[A-Z]|\[|^(str|int|float|bool|none|dict|list)$")  # how pydantic names one of several kinds


class Mistake(NamedTuple):
    """Where, what, and whether the key itself is wrong."""

    where: Where
    message: str
    of_key: bool = False


def explain(problem: ValidationError, keys: Iterable[str]) -> str:
    """One line for each mistake: where, what, and the nearest legal key."""
    errors, lines = _errors(problem), []
    for error in errors:
        where = ".".join(str(part) for part in error["loc"]).removeprefix("stages.0.") or "the pipeline"
        lines.append(f"  {where}: {_said(error, _known(error, errors, keys))}")
    return "\n".join(lines)


def mistakes(problem: ValidationError, keys: Iterable[str]) -> list[Mistake]:
    """The same one by one; those of a strategy's settings stand where the setting stands."""
    errors, found = _errors(problem), list[Mistake]()
    for error in errors:
        alone = [Mistake((), _said(error, _known(error, errors, keys)), error["type"] == "extra_forbidden")]
        within = error.get("ctx", {}).get("within") or alone
        found += [one._replace(where=(*error["loc"], *one.where)) for one in within]
    return found


def _errors(problem: ValidationError) -> list[ErrorDetails]:
    """What pydantic found, with places as a file has them: of a value that may be one of several, the nearest."""
    errors = problem.errors(include_url=False)
    if len(errors) > 1:  # a stage that does not validate makes the list of stages too short: say it once
        errors = [error for error in errors if error["type"] != "too_short"]
    deepest: dict[Where, int] = {}
    for error in errors:
        branch, depth = _branch(error), len(_written(error))
        deepest[branch] = max(deepest.get(branch, 0), depth)
    nearest = [error for error in errors if len(_written(error)) == deepest[_branch(error)] or not _has_tag(error)]
    for error in nearest:
        error["loc"] = _written(error)
    return nearest


def _known(error: ErrorDetails, errors: list[ErrorDetails], keys: Iterable[str]) -> list[str]:
    """Keys that would be legal there: those given at top level and in a stage; elsewhere those that are missed."""
    above = error["loc"][:-1]
    if not above or (above[0] == "stages" and len(above) == 2):
        return list(keys)
    return [str(one["loc"][-1]) for one in errors if one["type"] == "missing" and one["loc"][:-1] == above]


def _is_tag(error: ErrorDetails, at: int) -> bool:
    """Whether a part of a place is no key but one of several kinds that a value may be of."""
    of_user = error["type"] in ("extra_forbidden", "invalid_key") and at == len(error["loc"]) - 1
    return not of_user and bool(_TAG.search(str(error["loc"][at])))


def _has_tag(error: ErrorDetails) -> bool:
    return any(_is_tag(error, at) for at in range(len(error["loc"])))


def _branch(error: ErrorDetails) -> Where:
    """The place up to where a value may be of several kinds."""
    tags = [at for at in range(len(error["loc"])) if _is_tag(error, at)]
    return error["loc"][: tags[0]] if tags else error["loc"]


def _written(error: ErrorDetails) -> Where:
    return tuple(part for at, part in enumerate(error["loc"]) if not _is_tag(error, at))


def _said(error: ErrorDetails, known: list[str]) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        there = f"; there is: {', '.join(known)}" if known else ""
        return f"unknown key{suggest(str(error['loc'][-1]), known) or there}"
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "model_type":
        message = "Input should be a mapping"
    says_itself = error["type"] in ("tokenprune", "value_error")
    return message if says_itself else f"{message}; got {error['input']!r}"
