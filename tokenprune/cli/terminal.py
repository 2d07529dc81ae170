"""What the commands share: where they print, and how they fail."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from tokenprune.errors import NothingPrunedWarning, TokenpruneError, UnprunedInputWarning

if TYPE_CHECKING:
    from rich.console import Console


class CommandError(TokenpruneError):
    """A file, a model or a word that a command cannot work with."""


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console(highlight=False)


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Write plain values to stdout."""
    typer.echo(json.dumps(value, indent=2))


def note(kind: str, message: str, style: str = "bold") -> None:
    """One message on stderr, never wrapped: ``kind: message``."""
    from rich.text import Text

    stderr().print(Text.assemble((f"{kind}: ", style), message), soft_wrap=True)


@contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Errors of this library become a message and exit code 1, its warnings a line; other warnings are left out.

    Args:
        debug: leave all of them to Python.
    """
    if debug:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in (NothingPrunedWarning, UnprunedInputWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = lambda message, *_, **__: note("warning", str(message), "bold yellow")
        try:
            yield
        except TokenpruneError as problem:
            note("error", str(problem), "bold red")
            raise typer.Exit(1) from None
