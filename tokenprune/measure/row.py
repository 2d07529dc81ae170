"""One question about one image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Row:
    """A question about an image, with its right answers.

    Args:
        key: what tells it from the other rows of its task.
        question: as the model gets it.
        answers: what is right; several where several people answered.
        open: reads the image, in RGB; an `OSError` or `ValueError` says that it is broken.
        image: which image it is about; rows of one image are not independent of each other.
        kind: what kind of question, or which category.
        choices: texts of the choices A, B, ...
    """

    key: str
    question: str
    answers: tuple[str, ...]
    open: Callable[[], Image]
    image: str
    kind: str = ""
    choices: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Eight digits that change with the question or the name of the image."""
        return hashlib.sha256(f"{self.image}\n{self.question}".encode()).hexdigest()[:8]


def broken(problem: Exception) -> str:
    """Why a row whose image could not be opened is left out."""
    return f"broken image: {' '.join(str(problem).split())}"
