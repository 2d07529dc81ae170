"""What a shell may complete: names of what is installed, read from entry points; imports no strategy and no torch."""

from __future__ import annotations

from textwrap import shorten

from tokenprune.cli.catalogue import parts, summary
from tokenprune.registry import list_pipelines

WIDTH = 60  # of a summary; some shells take a line break for the end of a name


def pipelines(incomplete: str) -> list[tuple[str, str]]:
    """Registered pipelines that begin so, each with what it is."""
    return [
        (name, shorten(summary(name), WIDTH, placeholder=" ..."))
        for name in list_pipelines()
        if name.startswith(incomplete)
    ]


def several_pipelines(incomplete: str) -> list[str]:
    """The same after the last comma, for ``a,b,c``; a name that stands there already is left out."""
    before, comma, last = incomplete.rpartition(",")
    names = [name for name in list_pipelines() if name not in before.split(",")]
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def anything(incomplete: str) -> list[str]:
    """Names of every kind that begin so."""
    names = {name for found in parts(["*"]).values() for name in found}
    return sorted(name for name in names if name.startswith(incomplete))
