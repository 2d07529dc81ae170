"""Contact sheets and pages of what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenprune.cli.looking import Looked
from tokenprune.cli.terminal import CommandError
from tokenprune.page.items import Question, Run, Shown, digits, item

if TYPE_CHECKING:
    from PIL.Image import Image

PANEL = 448  # pixels along the longer side of a picture on a sheet


def check_page(path: Path) -> None:
    """See whether a page can be written, before anything is computed.

    Raises:
        CommandError: its folder is missing, or it is no HTML file.
    """
    if not path.parent.is_dir():
        raise CommandError(f"there is no folder {str(path.parent)!r} to write {path.name!r} to; make it first")
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise CommandError(f"cannot write a page to {str(path)!r}; name a file that ends in .html")


def named(model: str | None) -> str:
    """What a page calls a model: a folder by its name, because a page travels and folders do not."""
    return "embedded" if model is None else Path(model).name if Path(model).is_dir() else model


def write_page(
    path: Path, title: str, facts: Mapping[str, str], budgets: Sequence[str], found: Sequence[Looked]
) -> None:
    """Write one self-contained HTML file.

    Raises:
        CommandError: it cannot be written there.
    """
    from tokenprune import __version__
    from tokenprune.page import page

    lead = "Tokens that stay are in colour, in a frame that says why; those that are dropped are dimmed."
    told = {name: fact for name, fact in facts.items() if fact} | {"drawn by": f"tokenprune {__version__}"}
    text = page(title, lead, told, budgets, [_item(group) for group in _grouped(found)])
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise CommandError(f"cannot write the page to {str(path)!r}: {problem}") from problem


def _grouped(found: Sequence[Looked]) -> list[list[Looked]]:
    """Questions about one picture next to each other, as long as what is kept of it does not depend on them."""
    groups: list[list[Looked]] = []
    for one in found:
        if groups and groups[-1][0].asked.image is one.asked.image and _kept(groups[-1][0]) == _kept(one):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _kept(found: Looked) -> list[list[str]]:
    return [[digits(run.image) for run in line] for line in found.runs]


def _item(group: Sequence[Looked]) -> dict[str, Any]:
    """One picture with all its questions."""
    first = group[0]
    shown = []
    for row, (line, scores) in enumerate(zip(first.runs, first.scores, strict=True)):
        runs = [
            replace(run, answers=[one.answers[row][at] for one in group if one.full is not None])
            for at, run in enumerate(line)
        ]
        shown.append(Shown(first.kept[row][0].pipeline.name, runs, scores))
    questions = [Question(one.asked.question, one.full, one.asked.expected) for one in group if one.full is not None]
    return item(first.asked.heading, first.asked.image, first.placement, shown, questions)


def sheet_of(found: Looked, remark: str = "") -> Image:
    """A line for each pipeline: its scores if it has some, then what stays under each budget."""
    from tokenprune.painting import captioned
    from tokenprune.picture import sheet

    image = found.asked.image
    longest = max(image.size)
    scale = max(1, round(PANEL / longest)) if longest <= PANEL else PANEL / longest
    panels, scored = [], any(scores is not None for scores in found.scores)
    for line, scores in zip(found.kept, found.scores, strict=True):
        if scored:
            panels.append(_scores(found, line[0].pipeline.name, scores, scale))
        for kept in line:
            amount = f" {kept.pipeline.budget}" if "%" in str(kept.pipeline.budget) else ""  # a count is told anyway
            title = f"{kept.pipeline.name}{amount}"
            panels.append(_panel(found, kept.run, title, scale))
    made = sheet(panels, len(found.kept[0]) + scored)
    return captioned(made, [], remark) if remark else made


def _panel(found: Looked, run: Run, title: str, scale: float) -> Image:
    """What stays, and below it a strip of what the layers see one after the other."""
    from tokenprune.drawing import drawn, drawn_small
    from tokenprune.painting import captioned
    from tokenprune.picture import sheet

    image = found.asked.image
    panel = drawn(image, run.image, found.placement, title, scale)
    if not run.stages:
        return panel
    least = scale / max(3, len(run.stages))
    small = [drawn_small(image, one, found.placement, where, least) for where, one in run.stages]
    below = captioned(sheet(small, len(small)), [], f"{run.average:.1f} averaged over the layers")
    return sheet([panel, below], 1)


def _scores(found: Looked, name: str, scores: object, scale: float) -> Image:
    from tokenprune.drawing import drawn

    one, image = found.kept[0][0].receipt.images[0], found.asked.image
    if scores is None:
        import numpy as np

        from tokenprune.painting import Layer, captioned
        from tokenprune.picture import laid_over

        dim = Layer(np.zeros((1, 1), dtype=np.int64), (0, 0, *image.size))
        return captioned(laid_over(image, [dim], scale), [[(name, None)]], "no scorer that sees the vision encoder")
    return drawn(image, one, found.placement, name, scale, scores)
