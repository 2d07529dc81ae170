"""What the demonstration measures: the same questions with all tokens, and with few of them chosen in several ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tokenprune.cli.asking import answered, read
from tokenprune.scenes import load
from tokenprune.scenes.evaluate import answer

if TYPE_CHECKING:
    from PIL.Image import Image

    from tokenprune.attach import Attachment
    from tokenprune.receipt import Receipt
    from tokenprune.scenes import Question, Scene
    from tokenprune.scenes.evaluate import Asked

PIPELINES = ("vispruner", "random")
BUDGETS = ("25%", "11.1%", "5.6%")
BATCH = 32


@dataclass(frozen=True)
class Way:
    """One way to show an image to the model: all its tokens, or those that a pipeline keeps within a budget."""

    pipeline: str | None = None
    budget: str | None = None

    def __str__(self) -> str:
        return f"{self.pipeline} {self.budget}" if self.pipeline else "all tokens"

    @contextmanager
    def applied(self, model: Any) -> Iterator[Attachment | None]:
        """Attach the pipeline, if there is one."""
        import tokenprune

        if self.pipeline is None:
            yield None
            return
        with tokenprune.attach(model, self.pipeline, budget=self.budget) as attached:
            yield attached


WAYS = (Way(), *(Way(pipeline, budget) for pipeline in PIPELINES for budget in BUDGETS))


@dataclass(frozen=True)
class Column:
    """What came of one way.

    Args:
        way: which.
        said: the answer to each question.
        flops: of the prefill of the first question.
        inside: those of them that the language model ran.
        receipt: what was kept. None: everything.
        right: right answers over further scenes.
    """

    way: Way
    said: tuple[str, ...]
    flops: int
    inside: int
    receipt: Receipt | None
    right: int


@dataclass(frozen=True)
class Report:
    """A scene, its questions, and what came of each way.

    Args:
        scene: what was drawn.
        questions: one of each kind that the scene can answer.
        columns: one for each way; all tokens come first.
        asked: questions of the further scenes.
        parameters: weights of the model.
    """

    scene: Scene
    questions: Sequence[Question]
    columns: Sequence[Column]
    asked: int
    parameters: int

    def tokens(self, column: Column) -> int:
        """Visual tokens that the language model gets."""
        some = self.columns[1].receipt
        assert some is not None
        return some.before if column.receipt is None else column.receipt.after

    def parts(self, column: Column) -> dict[str, int]:
        """FLOPs of a prefill: the vision tower with its projector, the choice of tokens, the language model."""
        full = self.columns[0]
        vision = full.flops - full.inside
        return {
            "vision_tower": vision,
            "pruner": column.flops - vision - column.inside,
            "language_model": column.inside,
            "all": column.flops,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        scene = self.scene
        return {
            "scene": {"set": scene.kind, "index": scene.index, "seed": scene.seed},
            "questions": [asdict(question) for question in self.questions],
            "ways": [
                {
                    **asdict(column.way),
                    "said": column.said,
                    "tokens": self.tokens(column),
                    "prefill_flops": self.parts(column),
                    "right": column.right,
                }
                for column in self.columns
            ],
            "asked": self.asked,
            "parameters": self.parameters,
        }


def compared(scene: Scene, more: Sequence[Scene]) -> Report:
    """Ask the embedded model every question about a scene in every way, and count right answers over further scenes."""
    model, processor = load()
    here = [(scene, question) for question in scene.questions(scene.seed)]
    there = [(one, question) for one in more for question in one.questions(one.seed)]
    columns = []
    for way in WAYS:
        with way.applied(model) as attached:
            said, elsewhere = _said(model, processor, here), _said(model, processor, there)
            right = sum(text == question.answer for text, (_, question) in zip(elsewhere, there, strict=True))
            first = answered(model, processor, read(model, processor, scene.image, here[0][1].text), 1)
            receipt = attached.receipt if attached is not None else None
        columns.append(Column(way, tuple(said), first.flops, first.inside, receipt, right))
    size = sum(weight.numel() for weight in model.parameters())
    return Report(scene, [question for _, question in here], columns, len(there), size)


def _said(model: Any, processor: Any, asked: Sequence[Asked]) -> list[str]:
    return [
        text for start in range(0, len(asked), BATCH) for text in answer(model, processor, asked[start : start + BATCH])
    ]


def drawn(report: Report) -> Image:
    """One sheet: the scene and what each way keeps of it, a line for each pipeline."""
    import numpy as np

    from tokenprune.cli.pictures import enlarged
    from tokenprune.picture import overlay, sheet

    big, panels = enlarged(report.scene.image, 384), []
    for column in report.columns[1:]:
        assert column.receipt is not None
        one = column.receipt.images[0]
        masks = np.zeros((2, one.before), dtype=bool)
        masks[0, one.kept], masks[1, one.important] = True, True
        kept, important = masks.reshape(2, *(one.grid or (1, -1)))
        panels.append(overlay(big, kept, important=important if len(one.diverse) else None, title=str(column.way)))
    everything = overlay(big, np.ones_like(kept), title="all tokens")
    half = len(BUDGETS)
    return sheet([big, *panels[:half], everything, *panels[half:]], half + 1)
