"""A clock that knows what it measures: on the host it reads time, on a GPU it places events among the kernels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import AttachError


class Clock:
    """Marks on one device, and the seconds between them.

    Args:
        device: of the model that is measured.
        busy: count the seconds that this process was computing, of all its threads together, and not those in which it
            waited for a processor. With one thread that is the time that a run would take on a machine of its own.

    Raises:
        AttachError: the model is not on the host, so that others do its work.
    """

    def __init__(self, device: torch.device, busy: bool = False) -> None:
        if busy and device.type != "cpu":
            raise AttachError(f"the clock of the process says nothing of a model on {device}; take --clock wall")
        self.device, self.cuda, self.busy = device, device.type == "cuda", busy
        self.read: Callable[[], float] = time.process_time if busy else time.perf_counter

    def mark(self) -> Any:
        """This moment; on a GPU that in which the kernels launched so far are done."""
        if not self.cuda:
            self.wait()
            return self.read()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def wait(self) -> None:
        """Until everything that was launched is done."""
        if self.cuda:
            torch.cuda.synchronize(self.device)
        elif self.device.type not in ("cpu", "meta"):
            torch.accelerator.synchronize(self.device)

    def between(self, first: Any, last: Any) -> float:
        """Seconds from one mark to another; wait before you read them."""
        return float(first.elapsed_time(last)) / 1e3 if self.cuda else float(last - first)


class Stamps:
    """A logits processor that changes nothing and marks the moment when the logits of each token are there."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.start = clock.mark()
        self.marks: list[Any] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Called by ``generate``, once a token."""
        self.marks.append(self.clock.mark())
        return scores

    def seconds(self) -> tuple[float, float]:
        """Up to the first token, and for each one after it; only one token: NaN."""
        self.clock.wait()
        first = self.clock.between(self.start, self.marks[0])
        rest = len(self.marks) - 1
        each = self.clock.between(self.marks[0], self.marks[-1]) / rest if rest else float("nan")
        return first, each
