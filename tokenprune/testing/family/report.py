"""What came of the checks of one family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

S = TypeVar("S")
Status = Literal["passed", "failed", "not applicable"]


class NotApplicable(Exception):
    """The unmodified model does not allow this comparison; the message is the evidence."""


@dataclass(frozen=True)
class Verdict:
    """How one check ended.

    Args:
        status: ``passed``, ``failed`` or ``not applicable``.
        evidence: what was measured, what went wrong, or why there is nothing to compare with.
    """

    status: Status
    evidence: str


@dataclass(frozen=True)
class Report:
    """How every check of one family ended.

    Args:
        model: class of the model.
        model_type: of its config.
        verdicts: by name of the check.
    """

    model: str
    model_type: str
    verdicts: Mapping[str, Verdict]

    @property
    def proven(self) -> bool:
        """None failed, and the identity and at least one oracle passed."""
        status = {name: one.status for name, one in self.verdicts.items()}
        oracle = "passed" in (status.get("by hand"), status.get("masked"))
        return "failed" not in status.values() and status.get("identity") == "passed" and oracle

    def __str__(self) -> str:
        lines = [f"{self.model} ({self.model_type}): {'proven' if self.proven else 'not proven'}"]
        lines += [f"  {name}: {one.status}; {one.evidence}" for name, one in self.verdicts.items()]
        return "\n".join(lines)


def verdict(check: Callable[[S], str], subject: S) -> Verdict:
    """Run one check; whatever it raises is its verdict."""
    try:
        return Verdict("passed", check(subject))
    except NotApplicable as reason:
        return Verdict("not applicable", str(reason))
    except AssertionError as problem:
        return Verdict("failed", str(problem))
    except Exception as problem:  # the family under test may raise anything
        return Verdict("failed", f"it raises {type(problem).__name__}: {problem}")
