"""What a page shows of one picture and the questions about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from tokenprune.drawing import ranks, whys
from tokenprune.page import FEW, inlined
from tokenprune.painting import COLOURS, Why
from tokenprune.placement import Placement
from tokenprune.receipt import ImageReceipt
from tokenprune.spots import Box


@dataclass(frozen=True)
class Run:
    """One pipeline under one budget.

    Args:
        image: of its receipt.
        answers: what the model said to each question.
        stages: of a pipeline that goes on choosing inside the language model, (which layers, the image as they see it).
        average: its tokens, averaged over the layers. None: as many as there are.
    """

    image: ImageReceipt
    answers: Sequence[str] = ()
    stages: Sequence[tuple[str, ImageReceipt]] = ()
    average: float | None = None

    def plain(self) -> dict[str, Any]:
        """As the page reads it."""
        why = whys(self.image)
        return {
            "kept": digits(self.image),
            "before": self.image.before,
            "after": self.image.after,
            "average": self.average if self.stages else None,
            "counts": {int(one): count for one in COLOURS if (count := int((why == one).sum()))},
            "answers": list(self.answers),
            "stages": [{"label": name, "kept": digits(one), "after": one.after} for name, one in self.stages],
        }


@dataclass(frozen=True)
class Question:
    """One question about a picture.

    Args:
        text: as the model gets it.
        full: the answer with all tokens.
        expected: the right answer. None: it is not known.
    """

    text: str
    full: str
    expected: str | None = None


@dataclass(frozen=True)
class Shown:
    """One pipeline under every budget.

    Args:
        name: of the pipeline.
        runs: one for each budget.
        scores: [n] of the tokens by its first scorer. None: there are none.
    """

    name: str
    runs: Sequence[Run]
    scores: Any = None

    def plain(self) -> dict[str, Any]:
        """As the page reads it."""
        scores = None if self.scores is None else np.round(ranks(self.scores), 3).tolist()
        why = "this pipeline has no scorer that sees the vision encoder"
        return {"name": self.name, "runs": [run.plain() for run in self.runs], "scores": scores, "unscored": why}


def item(
    heading: str, image: Image.Image, placement: Placement, shown: Sequence[Shown], questions: Sequence[Question] = ()
) -> dict[str, Any]:
    """One picture with every pipeline.

    Args:
        heading: what stands above it.
        image: the picture, as it was before any preprocessing.
        placement: where its rows lie.
        shown: one for each pipeline.
        questions: those that were answered.
    """
    one = shown[0].runs[0].image
    grids = [] if one.spots is None else one.spots.grid.tolist()
    rows = zip(grids, placement.boxes, placement.overview, strict=False)
    tokens = [] if one.spots is None else np.column_stack([one.spots.row, one.spots.cell]).tolist()
    return {
        "heading": heading,
        "alt": heading,
        "image": inlined(image),
        "width": image.width,
        "height": image.height,
        "pixelated": max(image.size) <= FEW // 2,
        "note": placement.note,
        "rows": [{"grid": grid, "box": _rounded(box), "again": again} for grid, box, again in rows],
        "tokens": tokens,
        "questions": [asdict(question) for question in questions],
        "pipelines": [one.plain() for one in shown],
    }


def digits(image: ImageReceipt) -> str:
    """A digit for each token, a `Why`."""
    return "".join(map(str, np.maximum(whys(image), Why.DROPPED).tolist()))


def _rounded(box: Box | None) -> list[float] | None:
    """To a thousandth of a pixel."""
    return None if box is None else [round(side, 3) for side in box]
