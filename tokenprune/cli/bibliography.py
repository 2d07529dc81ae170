"""BibTeX entries, and which of them a pipeline comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from importlib.resources import files

from tokenprune.cli.terminal import CommandError
from tokenprune.registry import catalog, find

FILE = "papers.bib"
DISTRIBUTION = "tokenprune-vlm"
_ENTRY = re.compile(r"^@(\w+)\{([^\s,{}]+),", re.MULTILINE)
_FIELD = re.compile(r"(\w+)\s*=\s*")


@dataclass(frozen=True)
class Entry:
    """One work.

    Args:
        kind: such as ``inproceedings``.
        key: what a text cites it by.
        fields: without their braces or quotes.
        text: as it is written.
    """

    kind: str
    key: str
    fields: dict[str, str]
    text: str

    @property
    def names(self) -> set[str]:
        """Pipelines that come from it: its key, and its keywords."""
        return {self.key, *(word.strip() for word in self.fields.get("keywords", "").split(","))}


def entries(text: str) -> Iterator[Entry]:
    """The entries of a BibTeX text whose ``@`` opens a line."""
    for opens in _ENTRY.finditer(text):
        stop = _closing(text, opens.start() + len(opens[1]) + 1)
        written = text[opens.start() : stop + 1]
        yield Entry(opens[1].lower(), opens[2], dict(_fields(text[opens.end() : stop])), written)


def _closing(text: str, start: int) -> int:
    """Where the brace at ``start`` is closed; the end of the text if nowhere."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return at
    return len(text)


def _fields(body: str) -> Iterator[tuple[str, str]]:
    at = 0
    while field := _FIELD.search(body, at):
        start, first = field.end(), body[field.end() : field.end() + 1]
        if first == "{":
            at = _closing(body, start)
            yield field[1].lower(), body[start + 1 : at]
        elif first == '"':
            at = body.find('"', start + 1) % (len(body) + 1)
            yield field[1].lower(), body[start + 1 : at]
        else:
            at = body.find(",", start) % (len(body) + 1)
            yield field[1].lower(), body[start:at].strip()


def papers(name: str) -> list[Entry]:
    """What a pipeline comes from; or a paper of that name beside any registered pipeline.

    Raises:
        UnknownName: there is neither such a pipeline nor such a paper.
        ConflictingNames: two distributions claim the pipeline.
        CommandError: the pipeline names no paper.
    """
    if name in catalog("tokenprune.pipelines"):
        found = [one for one in _beside(find("tokenprune.pipelines", name).value) if name in one.names]
        if not found:
            told = f"the pipeline {name!r} names no paper: it is a control or a composition"
            raise CommandError(f"{told}; 'tokenprune cite' without a name prints the entry of the software")
        return found
    packages = {point.value for points in catalog("tokenprune.pipelines").values() for point in points}
    everywhere = {one.text: one for package in sorted(packages) for one in _beside(package)}
    if found := [one for one in everywhere.values() if name in one.names]:
        return found
    find("tokenprune.pipelines", name)
    return []


def _beside(package: str) -> list[Entry]:
    """The entries that lie beside a package's YAML files, or one folder above."""
    for place in (package, package.rpartition(".")[0]):
        with suppress(Exception):  # a plug-in may raise anything at all
            return list(entries(files(place).joinpath(FILE).read_text(encoding="utf-8")))
    return []


def software() -> Entry:
    """This software, as its installed metadata describes it.

    Raises:
        CommandError: there is no metadata.
    """
    try:
        told = metadata(DISTRIBUTION)
    except PackageNotFoundError:
        raise CommandError(f"no distribution {DISTRIBUTION} is installed; 'tokenprune doctor' says more") from None
    said = {name: (told.get_all(name) or [""])[0] for name in ("Summary", "Author", "Version", "License-Expression")}
    fields = {
        "title": f"tokenprune: {said['Summary'].rstrip('.')}",
        "author": f"{{{said['Author'] or 'The tokenprune authors'}}}",
        "version": said["Version"],
        "license": said["License-Expression"],
        "url": next((url.partition(", ")[2] for url in told.get_all("Project-URL") or []), ""),
    }
    fields = {name: value for name, value in fields.items() if value}
    lines = [f"  {name} = {{{value}}},\n" for name, value in fields.items()]
    return Entry("software", "tokenprune", fields, f"@software{{tokenprune,\n{''.join(lines)}}}")
