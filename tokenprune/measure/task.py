"""A task: rows, how they are judged, and a fingerprint that tells whether two runs asked the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from tokenprune.errors import TokenpruneError
from tokenprune.measure.metrics import METRICS, Metric
from tokenprune.measure.row import Row

if TYPE_CHECKING:
    from PIL.Image import Image


class TaskError(TokenpruneError, ValueError):
    """A task that cannot be asked."""


@dataclass(frozen=True)
class Task:
    """Questions to ask.

    Args:
        name: what a table calls it.
        rows: the questions, those about one image next to each other where that can be.
        metric: how the answers are judged.
        skipped: why rows of the source are not among them, by their key.
    """

    name: str
    rows: Sequence[Row]
    metric: Metric
    skipped: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Twelve digits that change with any question, answer, or the name of any image."""
        told = [[row.key, row.question, row.answers, row.image, row.kind, row.choices] for row in self.rows]
        return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()[:12]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of questions, in the order in which they first occur."""
        return tuple(dict.fromkeys(row.kind for row in self.rows))


def checked(task: Task) -> Task:
    """The task, if it can be asked.

    Raises:
        TaskError: it has no rows, or rows without an answer that its metric needs.
    """
    if not task.rows:
        why = "; ".join(f"{key}: {reason}" for key, reason in list(task.skipped.items())[:3])
        raise TaskError(f"the task {task.name!r} has no questions to ask{f' ({why}, ...)' if why else ''}")
    if len({row.key for row in task.rows}) < len(task.rows):
        raise TaskError(f"the task {task.name!r} has several rows of one key; name a column of unique ones, or none")
    for judges, fits, what in (
        ("yes_no", _yes_no, "yes or no"),
        ("letter", _letter, "the letter of a choice, from A on"),
    ):
        odd = next((row for row in task.rows if task.metric.judges.startswith(judges) and not fits(row)), None)
        if odd is not None:
            raise TaskError(f"{task.metric.name} needs answers that are {what}; row {odd.key} has {odd.answers[0]!r}")
    return task


def _yes_no(row: Row) -> bool:
    return row.answers[0].strip().lower().rstrip(".") in ("yes", "no")


def _letter(row: Row) -> bool:
    """One letter; of as many as there are choices, if those are known."""
    answer = row.answers[0].strip().upper()
    return len(answer) == 1 and "A" <= answer <= chr(ord("A") + (len(row.choices) or 26) - 1)


def scenes(kind: str, questions: int, seed: int = 2) -> Task:
    """The first questions about a set of the embedded scenes: scene after scene, each asked all it can answer.

    Args:
        kind: ``sparse`` or ``crowded``.
        questions: how many.
        seed: of scenes and questions; the embedded model was trained on seed 1.
    """
    from tokenprune.scenes import draw

    rows: list[Row] = []
    for index in count():
        scene = draw(index, kind, seed)
        for asked in scene.questions(seed):
            image = f"{kind}-{index}"
            key = f"{image}-{asked.kind}"
            rows.append(Row(key, asked.text, (asked.answer,), _drawn(index, kind, seed), image, asked.kind))
            if len(rows) == questions:
                return Task(f"scenes-{kind}", rows, METRICS["exact"], {})
    raise AssertionError("scenes never end")


def _drawn(index: int, kind: str, seed: int) -> Callable[[], Image]:
    def opened() -> Image:
        from tokenprune.scenes import draw

        return draw(index, kind, seed).image

    return opened


def stem(source: Path) -> str:
    """What a table calls a task of a file: its name, or its folder's where the file is called as all are."""
    return source.parent.name or "task" if source.stem in ("data", "rows", "test", "train") else source.stem
