"""Pictures and what is asked about them: drawn scenes, and rows of one's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tokenprune.cli.terminal import CommandError

if TYPE_CHECKING:
    from PIL.Image import Image

    from tokenprune.measure.local import Columns

SCENE, SCENES = re.compile(r"(sparse|crowded):(\d{1,6})"), re.compile(r"(sparse|crowded):(\d{1,6})-(\d{1,6})")


@dataclass(frozen=True)
class Asked:
    """A picture and a question about it.

    Args:
        heading: what a page calls the picture.
        image: the picture.
        question: as the model gets it.
        answers: what is right. Empty: it is not known.
    """

    heading: str
    image: Image
    question: str
    answers: tuple[str, ...] = ()

    @property
    def expected(self) -> str | None:
        """What is right, as a page shows it. None: it is not known."""
        return " or ".join(dict.fromkeys(self.answers)) or None

    def right(self, said: str | None) -> bool:
        """Whether that is right, by the rule ``exact`` of evaluations."""
        from tokenprune.measure.wording import plain

        return plain(said or "") in map(plain, self.answers)


def scene_of(text: str) -> Asked | None:
    """A drawn scene by set and number, such as ``sparse:0``, with its first question; None: the text names none."""
    from tokenprune.scenes import draw

    if (said := SCENE.fullmatch(text)) is None:
        return None
    scene = draw(int(said[2]), said[1])
    first = scene.questions(scene.seed)[0]
    return Asked(f"scene {text}", scene.image, first.text, (first.answer,))


def of_scenes(text: str, prompts: Sequence[str]) -> list[Asked] | None:
    """One drawn scene or several, such as ``sparse:0-4``, with prompts or their own questions; None: not named so.

    Raises:
        CommandError: there is none from the first to the last.
    """
    from tokenprune.scenes import draw

    said = SCENES.fullmatch(text) or SCENE.fullmatch(text)
    if said is None:
        return None
    numbers = range(int(said[2]), int(said[said.re.groups]) + 1)
    if not numbers:
        raise CommandError("a range of scenes goes upwards, as in sparse:0-4")
    found = []
    for scene in (draw(number, said[1]) for number in numbers):
        own = [(one.text, (one.answer,)) for one in scene.questions(scene.seed)]
        for question, answers in [(question, ()) for question in prompts] or own:
            found.append(Asked(f"scene {scene.kind}:{scene.index}", scene.image, question, answers))
    return found


def is_task(source: str) -> bool:
    """Whether that is what ``tokenprune eval`` takes as a task: a set of scenes, a table, or a folder."""
    from tokenprune.cli.tasks import SCENES
    from tokenprune.measure.records import READERS

    return source in SCENES or Path(source).is_dir() or Path(source).suffix.lower() in READERS


def of_task(source: str, columns: Columns, most: int, prompt: str) -> list[Asked]:
    """The first questions of a task, as ``tokenprune eval`` reads it but for answers, which are optional.

    Rows that cannot be asked are told.

    Args:
        source: see `is_task`.
        columns: which column holds what.
        most: how many are asked.
        prompt: what is made of a question; ``{question}`` stands for it.

    Raises:
        TaskError: it cannot be read.
        CommandError: none of its pictures can be opened.
    """
    from tokenprune.cli.tasks import tasks_of, tell
    from tokenprune.measure.row import broken

    found, skipped = [], {}
    images: dict[str, Image] = {}
    for row in (row for task in tasks_of(source, "none", columns, most) for row in task.rows):
        try:
            images[row.image] = images.get(row.image) or row.open()
        except (OSError, ValueError) as problem:
            skipped[row.key] = broken(problem)
            continue
        asked = prompt.replace("{question}", row.question)
        found.append(Asked(row.image, images[row.image], asked, row.answers))
    tell(skipped, f"of {source} could not be asked")
    if not found:
        raise CommandError(f"no picture of {source!r} can be opened")
    return found


def all_asked(source: str, prompts: Sequence[str], most: int, columns: Columns) -> list[Asked]:
    """What is to be asked: prompts about a picture, or those of scenes or of a task.

    Raises:
        BadParameter: a picture without a question, an empty one, or one that leaves out those of a task.
        TaskError, CommandError: there is nothing there that can be asked about.
    """
    from tokenprune.cli.pictures import opened

    if any(not one.strip() for one in prompts):
        raise typer.BadParameter("the prompt is empty", param_hint="--prompt")
    if (drawn := of_scenes(source, prompts)) is not None:
        return drawn[:most]
    if is_task(source):
        return of_task(source, columns, most, _template(prompts))
    image = opened(Path(source))
    if not prompts:
        raise typer.BadParameter("a picture needs a question; say --prompt TEXT", param_hint="--prompt")
    return [Asked(Path(source).name, image, one) for one in prompts]


def _template(prompts: Sequence[str]) -> str:
    """What is made of the questions of a task."""
    if len(prompts) > 1 or any("{question}" not in one for one in prompts):
        raise typer.BadParameter(
            "a task has its own questions; say once what is made of them, with {question} in it", param_hint="--prompt"
        )
    return prompts[0] if prompts else "{question}"
