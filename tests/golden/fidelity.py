"""What a module of golden tests says of its method, for the tests and for the page ``docs/fidelity.md`` alike.

A module ``golden/test_*.py`` that has a ``FIDELITY`` is on the page; nothing else has to be told of it.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

_DATA = Path(__file__).parents[1] / "data" / "golden"
_HELD = {}  # (process, method, check, case): whether it agrees; a comparison runs once in a process, whoever asks


@dataclass(frozen=True)
class Fidelity:
    """How one method is held against what its authors released.

    Args:
        method: name of the data, ``tests/data/golden/METHOD.json``.
        pipelines: the pipelines that are made of what is compared.
        licence: of the released code.
        checks: in words what is compared -> (whether a case agrees, names of the cases).
        deviations: where we part from the released code on purpose, and why; a sentence each.
        unchecked: what could not be compared, and why; a sentence each.
    """

    method: str
    pipelines: tuple[str, ...]
    licence: str
    checks: Mapping[str, tuple[Callable[[str], bool], Collection[str]]]
    deviations: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    def holds(self, check: str, case: str) -> bool:
        """Whether a case agrees."""
        agrees, names = self.checks[check]
        assert case in names, f"{case} is not one of the cases for {check!r}"
        key = os.getpid(), self.method, check, case  # a fork may run other code
        if key not in _HELD:
            _HELD[key] = bool(agrees(case))
        return _HELD[key]

    def count(self, check: str) -> tuple[int, int]:
        """(cases that agree, cases)."""
        _, names = self.checks[check]
        return sum(self.holds(check, name) for name in names), len(names)

    @property
    def data(self) -> dict:
        """What was recorded: ``official`` says of which code, ``cases`` on what."""
        return json.loads((_DATA / f"{self.method}.json").read_text(encoding="utf-8"))
