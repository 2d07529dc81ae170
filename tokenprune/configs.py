"""Configs from wherever they lie, and what can be made of one without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenprune.errors import AttachError, UnknownName
from tokenprune.family import Config, Model
from tokenprune.registry import suggest


def config_of(source: str) -> Config:
    """The config of a model.

    Args:
        source: a model folder, a config file, a name on the hub (``OWNER/NAME``), or a model type, whose default config
            is then taken.

    Raises:
        AttachError: there is no such file, or it cannot be read.
        UnknownName: transformers knows no such model type.
    """
    from transformers import AutoConfig

    place = _place(source)
    if place is None and "/" not in source:
        check_model_type(source, "a folder is written ./NAME, a model of the hub OWNER/NAME")
        return _made(AutoConfig.for_model, source, f"the default config of {source!r}")
    if place is None:
        return _made(AutoConfig.from_pretrained, source, f"the config of {source!r}")
    plain = _plain(place)
    check_model_type(plain.get("model_type"), f"{str(place)!r} names it; a newer transformers may")
    return _made(AutoConfig.from_pretrained, str(place), f"the config {str(place)!r}")


def _place(source: str) -> Path | None:
    """The config file that a source names. None: it names none, but something on the hub or a model type.

    Raises:
        AttachError: it names one that is not there.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "config.json"
        if not path.is_file():
            raise AttachError(f"the folder {source!r} holds no config.json; name the folder that a model was saved to")
    elif not path.is_file():
        if source.startswith((".", "/", "~")) or source.endswith(".json"):
            raise AttachError(f"there is no model folder and no config file at {source!r}")
        return None
    return path


def _plain(place: Path) -> dict[str, Any]:
    """A config file as plain values.

    Raises:
        AttachError: it is no JSON, or holds no config.
    """
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise AttachError(f"cannot read the config {str(place)!r}: {problem}") from problem
    if not isinstance(found, dict) or not isinstance(found.get("model_type"), str):
        raise AttachError(f"{str(place)!r} is no config of a model: it names no model_type")
    return found


def check_model_type(name: Any, hint: str) -> None:
    """See whether transformers knows a model type.

    Raises:
        UnknownName: it does not.
    """
    from transformers import CONFIG_MAPPING, __version__

    known = list(CONFIG_MAPPING)
    if name not in known:
        raise UnknownName(f"transformers {__version__} knows no model type {name!r}{suggest(name, known)} ({hint})")


def _made(make: Any, source: str, what: str) -> Config:
    try:
        return make(source)
    except Exception as problem:  # a config checks its own values, and the hub has errors of its own
        raise AttachError(f"cannot read {what}: {_first_line(problem)}") from problem


def laid_out(config: Config) -> Model:
    """The model of a config on the meta device: every module, and no weights.

    Raises:
        AttachError: transformers has none for images and text, or cannot build it.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    try:
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config)
    except Exception as problem:  # building runs the model's own code
        raise AttachError(
            f"cannot lay out a model of {type(config).__name__}: {_first_line(problem)}; a default config may not fit "
            "together, so name the folder or the config of a trained model"
        ) from problem


def processor_of(source: str) -> tuple[Any, str]:
    """The image processor that lies beside a config, and why there is none. A default one would not fit the config."""
    from transformers import AutoImageProcessor

    path = Path(source).expanduser()
    if path.is_file() or not (path.is_dir() or "/" in source):
        return None, "a config alone has no image processor"
    try:
        return AutoImageProcessor.from_pretrained(str(path) if path.is_dir() else source), ""
    except Exception as problem:  # as above
        return None, f"no image processor: {_first_line(problem)}"


def _first_line(problem: Exception) -> str:
    first, *rest = str(problem).strip().split("\n")
    if first.endswith(":") and rest:
        first = f"{first} {rest[0].strip()}"
    return first.rstrip(".") or type(problem).__name__
