"""Pictures and what is asked about them: drawn scenes, and rows of one's own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokenprune.cli.pictures import opened
from tokenprune.cli.terminal import CommandError

if TYPE_CHECKING:
    from PIL.Image import Image

SCENE = re.compile(r"(sparse|crowded):(\d{1,6})")


@dataclass(frozen=True)
class Asked:
    """A picture and a question about it.

    Args:
        heading: what a page calls the picture.
        image: the picture.
        question: as the model gets it.
        expected: the right answer. None: it is not known.
    """

    heading: str
    image: Image
    question: str
    expected: str | None = None


def scene_of(text: str) -> Asked | None:
    """A drawn scene by set and number, such as ``sparse:0``, with its first question; None: the text names none."""
    from tokenprune.scenes import draw

    if (said := SCENE.fullmatch(text)) is None:
        return None
    scene = draw(int(said[2]), said[1])
    first = scene.questions(scene.seed)[0]
    return Asked(f"scene {text}", scene.image, first.text, first.answer)


def of_rows(source: Path, most: int) -> list[Asked]:
    """The first questions of a JSONL file: an image, a question and, if it is known, an answer on every line.

    Paths of images begin at its folder.

    Raises:
        CommandError: it cannot be read, or a line of it is not such a row; the message names the line.
    """
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise CommandError(f"cannot read the questions in {str(source)!r}: {problem}") from problem
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()][:most]
    if not numbered:
        raise CommandError(f"there is no question in {str(source)!r}; write one JSON object a line")
    return [_row(source, number, line) for number, line in numbered]


def _row(source: Path, number: int, line: str) -> Asked:
    try:
        row = json.loads(line)
    except ValueError as problem:
        raise CommandError(f"line {number} of {str(source)!r} is no JSON: {problem}") from problem
    missing = [
        name for name in ("image", "question") if not isinstance(row, dict) or not str(row.get(name) or "").strip()
    ]
    if missing:
        raise CommandError(
            f"line {number} of {str(source)!r} has no {' and no '.join(missing)}; a row is "
            '{"image": "cat.png", "question": "What is this?", "answer": "a cat"}'
        )
    answer = row.get("answer")
    return Asked(
        str(row["image"]),
        opened(source.parent / str(row["image"])),
        str(row["question"]),
        None if answer is None else str(answer),
    )
