"""Warnings that point at the caller's line, once each, or errors where one is strict."""

from __future__ import annotations

import sys
import warnings
from typing import NoReturn

from tokenprune.errors import NothingPruned, UnsupportedMode


class Complaints:
    """Each kind of warning once; or errors, if one is strict."""

    def __init__(self, strict: bool) -> None:
        self.strict, self.told = strict, set[type[UserWarning]]()

    def __call__(self, message: str, category: type[UserWarning]) -> None:
        """Raise `NothingPruned`, or warn if this kind is new."""
        if self.strict:
            raise NothingPruned(message)
        if category not in self.told:
            self.told.add(category)
            warn(message, category)


def warn(message: str, category: type[UserWarning]) -> None:
    """Warn at the line of the caller's that called us, perhaps through torch or transformers."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("tokenprune", "torch", "transformers"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


class NotCopied:
    """What drives a model, and cannot be copied with it."""

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise UnsupportedMode("an attached model cannot be copied: the copy would drive this one. Detach it first")

    def __reduce__(self) -> NoReturn:
        raise UnsupportedMode("an attached model cannot be pickled. Detach it first, and attach again after loading")
