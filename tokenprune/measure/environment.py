"""What a figure depends on besides the code, to be written down next to it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import torch


def environment() -> dict[str, str | int]:
    """Versions, processor, accelerator and threads; nothing that tells one user from another."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    """As Linux names it, else as Python does."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
