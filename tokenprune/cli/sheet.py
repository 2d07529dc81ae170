"""What there is to know of a pipeline or a part, as text: for ``tokenprune show`` and for the page of methods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import fill
from typing import TYPE_CHECKING, Any

from tokenprune.cli.bibliography import papers
from tokenprune.cli.terminal import CommandError

if TYPE_CHECKING:
    from tokenprune.about import Part
    from tokenprune.pipeline import Pipeline

SINGULAR = {"scorers": "scorer", "splitters": "splitter", "diversifiers": "diversifier", "mergers": "merger"}


def bibtex(name: str) -> list[str]:
    """Entries of the papers that a registered pipeline comes from."""
    try:
        return [one.text for one in papers(name)]
    except CommandError:  # a control or a composition
        return []


def head(text: str) -> str:
    """The comment that a YAML text opens with, as running text; without its code and lines for programs."""
    comment = re.match(r"(?:#.*\n)*", text)
    lines = [line[2:] for line in (comment[0] if comment else "").splitlines()]
    return " ".join(line for line in lines if line and not line.startswith((" ", "yaml-language-server")))


def wishes(pipeline: Pipeline) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each cue that is read: in words, which families give it in words, and the same as plain values."""
    from tokenprune.about import families_giving

    for wish in sorted(pipeline.reads):
        given = families_giving(wish)
        plain = {"families": list(given.families), "without": list(given.without)}
        yield ", else ".join(wish.split("|")), str(given), plain


def about(name: str, pipeline: Pipeline, registered: bool) -> dict[str, Any]:
    """Plain values, for JSON."""
    from tokenprune.about import parts_of

    return {
        "bibtex": bibtex(name) if registered else [],
        "reads": {wish: plain for wish, _, plain in wishes(pipeline)},
        "parts": [one.to_dict() for one in parts_of(pipeline)],
    }


def pipeline_text(name: str, pipeline: Pipeline, registered: bool, width: int) -> str:
    """What the YAML does not say: the paper as BibTeX, cues and the families that give them, each part."""
    from tokenprune.about import parts_of

    blocks = bibtex(name) if registered else []
    reads = [_filled(f"- {wish}: {given}", width, "", "  ") for wish, given, _ in wishes(pipeline)]
    blocks.append("\n".join(["Reads:", *(reads or ["- nothing of the model but its tokens"])]))
    return "\n\n".join([*blocks, *(part_text(one, width) for one in parts_of(pipeline))]) + "\n"


def part_text(part: Part, width: int) -> str:
    """A part: where it comes from, its formula, each setting; no line longer than ``width`` if words are not."""
    blocks = [_filled(f"{SINGULAR[part.kind]} {part.name}: {part.source}", width, "", "  ")]
    blocks += ["\n".join(_paragraph(one, width)) for one in part.formula.split("\n\n")]
    settings = [
        f"  {one.name}: {one.default}  ({one.kind})\n{_filled(one.meaning, width, '    ', '    ')}"
        for one in part.settings
    ]
    return "\n\n".join([*blocks, "\n".join(settings)] if settings else blocks)


def _paragraph(text: str, width: int) -> Iterator[str]:
    """Running text anew in lines of ``width``; lists and what is indented as it is."""
    lines = text.splitlines()
    if any(line.startswith((" ", "* ", "- ")) for line in lines):
        yield from (f"  {line}" for line in lines)
    else:
        yield _filled(" ".join(lines), width, "  ", "  ")


def _filled(text: str, width: int, first: str, then: str) -> str:
    """Lines of words that are never cut, with what is code in one backtick."""
    plain = re.sub("`+", "`", text)
    return fill(
        plain, width, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )
