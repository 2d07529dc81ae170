"""Models of real size without their weights: for time and memory any numbers will do."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from tokenprune.configs import laid_out
from tokenprune.errors import AttachError
from tokenprune.family import Config, Model

_SPREAD = 0.035  # of a uniform distribution whose standard deviation is 0.02
GIB = 2**30


def cut_to(config: Config, layers: int | None) -> Config:
    """The same config, with so many layers in its language model. None: with all.

    Raises:
        AttachError: it has fewer.
    """
    config = deepcopy(config)
    if layers is None:
        return config
    text = config.get_text_config()
    depth = int(text.num_hidden_layers)
    if not 0 < layers <= depth:
        raise AttachError(f"--layers {layers}: this language model has {depth}; ask for 1 to {depth}")
    text.num_hidden_layers = layers
    for name in ("layer_types", "mlp_layer_types"):
        if getattr(text, name, None):
            setattr(text, name, list(getattr(text, name))[:layers])
    return config


def random_model(config: Config, device: torch.device, dtype: torch.dtype) -> Model:
    """The model of a config, ready to generate, its weights drawn from a uniform distribution and its norms one.

    Raises:
        AttachError: it is larger than the memory that is free.
    """
    from transformers import AutoModelForImageTextToText, GenerationConfig
    from transformers.initialization import no_init_weights

    _check_room(config, device, dtype)
    with torch.device(device), no_init_weights():
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    for name, weight in model.named_parameters():
        if weight.ndim == 1 and name.endswith("weight"):  # of a norm
            weight.data.fill_(1)
        else:
            weight.data.uniform_(-_SPREAD, _SPREAD)
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    return model.eval()


def _check_room(config: Config, device: torch.device, dtype: torch.dtype) -> None:
    need = sum(weight.numel() for weight in laid_out(deepcopy(config)).parameters()) * dtype.itemsize
    room = free_memory(device)
    if room is not None and need > room:
        raise AttachError(
            f"these weights take {need / GIB:.1f} GiB in {str(dtype).removeprefix('torch.')}, and {room / GIB:.1f} GiB "
            f"are free on {device}; cut the depth with --layers, or choose a smaller --dtype"
        )


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free. None: this system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    info = Path("/proc/meminfo")
    if device.type != "cpu" or not info.is_file():
        return None
    lines = info.read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
