"""A clock that knows what it measures: on the host it reads time, on a GPU it places events among the kernels."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor


class Clock:
    """Marks on one device, and the seconds between them.

    Args:
        device: of the model that is measured.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"

    def mark(self) -> Any:
        """This moment; on a GPU that in which the kernels launched so far are done."""
        if not self.cuda:
            self.wait()
            return time.perf_counter()
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
