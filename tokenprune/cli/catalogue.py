"""What is installed, read from entry points and the first lines of YAML files; imports no strategy and no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from tokenprune.cli.sheet import head
from tokenprune.cli.terminal import CommandError
from tokenprune.errors import TokenpruneError
from tokenprune.registry import list_families, list_pipelines, list_strategies, yaml_of


def yaml_text(source: str) -> str:
    """The text of a registered pipeline, or of a file whose name ends in ``.yaml`` or ``.yml``.

    Raises:
        UnknownName, PluginError: as in `registry.yaml_of`.
        CommandError: there is no such file.
    """
    if not source.endswith((".yaml", ".yml")):
        return yaml_of(source)
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise CommandError(f"cannot read the pipeline {source!r}: {problem}") from problem


def summary(name: str) -> str:
    """The first sentence of the comment that a pipeline's YAML opens with; or why it cannot be read."""
    try:
        text = yaml_text(name)
    except TokenpruneError as problem:
        return f"broken: {problem}"
    return re.split(r"(?<=\.)\s", head(text), maxsplit=1)[0]


def parts(patterns: Iterable[str], without: Iterable[str] = ()) -> dict[str, list[str]]:
    """Names by kind (``pipelines``, ``scorers``, ..., ``families``) that one of some patterns matches.

    Args:
        patterns: shell patterns such as ``vis*``; upper and lower case are alike.
        without: patterns of names to leave out.
    """
    everything = {"pipelines": list_pipelines(), **list_strategies(), "families": list_families()}
    return {
        kind: [name for name in names if _any(name, patterns) and not _any(name, without)]
        for kind, names in everything.items()
    }


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
