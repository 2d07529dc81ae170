"""The most memory that a block of code held at once, on top of what was there before."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """Bytes; 0 until the block ends."""

    size: int = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """The peak of the process's resident memory inside the block, above what it was on entry. Linux only.

    The allocator may serve the block from memory freed before, which does not show. Start the process with
    ``MALLOC_MMAP_THRESHOLD_=65536`` in its environment, and every tensor above that size comes from the system and goes
    back to it.

    Raises:
        OSError: this system has no ``/proc/self/clear_refs``.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # the C library of GNU
        trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark becomes what is resident now
    before, peak = _status("VmRSS"), Peak()
    try:
        yield peak
    finally:
        peak.size = max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    """Bytes that the kernel states for this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
