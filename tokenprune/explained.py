"""What pydantic found wrong, in our words: where, what, and the nearest legal key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tokenprune.registry import suggest


class Mistake(NamedTuple):
    """Where (keys and indices), what, and whether the key itself is wrong."""

    where: tuple[int | str, ...]
    message: str
    of_key: bool = False


def explain(problem: ValidationError, keys: Iterable[str]) -> str:
    """One line for each mistake: where, what, and the nearest legal key."""
    known, lines = list(keys), []
    for error in _errors(problem):
        where = ".".join(str(part) for part in error["loc"]).removeprefix("stages.0.") or "the pipeline"
        lines.append(f"  {where}: {_said(error, known)}")
    return "\n".join(lines)


def mistakes(problem: ValidationError, keys: Iterable[str]) -> list[Mistake]:
    """The same one by one; those of a strategy's settings stand where the setting stands."""
    known, found = list(keys), []
    for error in _errors(problem):
        alone = [Mistake((), _said(error, known), error["type"] == "extra_forbidden")]
        within = error.get("ctx", {}).get("within") or alone
        found += [one._replace(where=(*error["loc"], *one.where)) for one in within]
    return found


def _errors(problem: ValidationError) -> list[ErrorDetails]:
    errors = problem.errors(include_url=False)
    if len(errors) > 1:  # a stage that does not validate makes the list of stages too short: say it once
        errors = [error for error in errors if error["type"] != "too_short"]
    return errors


def _said(error: ErrorDetails, known: list[str]) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown key{suggest(str(error['loc'][-1]), known) or '; there is: ' + ', '.join(known)}"
    if error["type"] == "missing":
        return "is missing"
    says_itself = error["type"] in ("tokenprune", "value_error")
    return message if says_itself else f"{message}; got {error['input']!r}"
