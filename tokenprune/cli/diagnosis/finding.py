"""One finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["fine", "note", "broken"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what was found.

    Args:
        name: what was looked at.
        status: ``fine``; ``note``: it works, and something is worth knowing; ``broken``: something will fail.
        found: in words.
        remedy: what to do, as a command where one does it. Empty where all is fine.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.name}: {self.found}{f' -> {self.remedy}' if self.remedy else ''}"
