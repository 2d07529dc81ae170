"""What this machine and the libraries on it give to a model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from tokenprune.cli.diagnosis.finding import Finding

GIB = 2**30
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def devices() -> Iterator[Finding]:
    """Accelerators, and why there is none."""
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            memory = f"{card.total_memory / GIB:.0f} GiB"
            yield Finding(f"cuda:{number}", "fine", f"{card.name}, {memory}, compute {card.major}.{card.minor}")
    elif torch.accelerator.is_available():
        yield Finding(str(torch.accelerator.current_accelerator()), "fine", f"{torch.accelerator.device_count()}")
    elif torch.version.cuda or torch.version.hip:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
        unseen = f"cpu alone: torch is built for {built} and sees no GPU"
        yield Finding("device", "note", unseen, "if there is one: does nvidia-smi list it, does its driver fit?")
    elif shutil.which("nvidia-smi"):
        unused = f"cpu alone: this machine has nvidia-smi, torch {torch.__version__} has no CUDA"
        yield Finding("device", "note", unused, "install the torch that pytorch.org names for your CUDA")
    else:
        yield Finding("device", "fine", "cpu")


def threads() -> Iterator[Finding]:
    """Threads of torch against processors."""
    there, used = _processors(), torch.get_num_threads()
    found = f"torch uses {used} of {there} processors"
    said = os.environ.get("OMP_NUM_THREADS")
    if used < there and said:
        yield Finding(
            "threads", "note", f"{found} (OMP_NUM_THREADS={said})", "unset OMP_NUM_THREADS, if not on purpose"
        )
    elif used > there:
        yield Finding("threads", "note", f"{found}, which is slow", f"export OMP_NUM_THREADS={there}")
    else:
        yield Finding("threads", "fine", found)


def _processors() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def attention() -> Iterator[Finding]:
    """Implementations of attention that a model may be loaded with."""
    from transformers.utils import import_utils

    optional = {
        "flex_attention": "is_torch_flex_attn_available",
        "flash_attention_2": "is_flash_attn_2_available",
        "flash_attention_3": "is_flash_attn_3_available",
    }
    there = [name for name, asked in optional.items() if getattr(import_utils, asked, bool)()]
    yield Finding("attention", "fine", ", ".join(["eager", "sdpa", *there]))


def image_processors() -> Iterator[Finding]:
    """Whether images are processed by torchvision or by Pillow, and whether videos can be."""
    name, fitting = "image processors", f"pip install torchvision, of the release made for torch {torch.__version__}"
    try:
        found = version("torchvision")
    except PackageNotFoundError:
        yield Finding(name, "note", "Pillow; video processors need torchvision", f"for videos: {fitting}")
        return
    try:
        import torchvision  # type: ignore[import-not-found, unused-ignore] # noqa: F401
    except Exception as problem:  # compiled code that was built for another torch fails in many ways
        first = str(problem).strip().split("\n")[0]
        yield Finding(name, "broken", f"torchvision {found} does not fit this torch: {first}", fitting)
        return
    yield Finding(name, "fine", f"torchvision {found}")


def offline() -> Iterator[Finding]:
    """Whether the hub may be asked."""
    if said := [name for name in OFFLINE if os.environ.get(name, "").lower() in ("1", "true", "yes", "on")]:
        told = f"{' and '.join(said)} is set: models come from the cache alone"
        yield Finding("hub", "note", told, f"unset {' '.join(said)} to download one")
