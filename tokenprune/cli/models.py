"""Models: the embedded one with its few words, and those of a folder or of the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tokenprune.cli.terminal import CommandError

EXAMPLES = ("What color is the star?", "How many red objects?", "What number is on the sign?")


def check_words(prompt: str) -> None:
    """See whether the embedded model can read a prompt.

    Raises:
        CommandError: some words are not among the few that it knows.
    """
    from tokenprune.scenes import VOCABULARY, unknown_words

    strange = unknown_words(prompt)
    if strange:
        near = [match for word in strange for match in get_close_matches(word, sorted(VOCABULARY), n=1, cutoff=0.7)]
        hint = f"; did you mean {' and '.join(map(repr, dict.fromkeys(near)))}?" if near else "."
        raise CommandError(
            f"the embedded model does not know {' and '.join(map(repr, strange))}{hint} It knows {len(VOCABULARY)} "
            f"words, as in {' '.join(map(repr, EXAMPLES))}; use --model DIR_OR_HUB_ID for another model"
        )


@contextmanager
def quiet_transformers(bars: bool = False) -> Iterator[None]:
    """Warnings and, unless ``bars``, progress bars of transformers stay out of the way; both come back afterwards."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


@contextmanager
def few_threads(model: str | None) -> Iterator[None]:
    """One thread while the embedded model runs, which is several times slower on many; then as many as before.

    Nothing changes for any other ``model``, nor where OMP_NUM_THREADS or MKL_NUM_THREADS says how many.
    """
    if model is not None or os.environ.keys() & {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def loaded(source: str, device: str | None, dtype: str) -> tuple[Any, Any]:
    """A vision-language model of a folder or of the hub, ready to generate, and its processor.

    Args:
        source: a folder, or a name on the hub.
        device: where it runs. None: on an accelerator if there is one.
        dtype: the name of a torch dtype, or ``auto`` for the one it was saved in.

    Raises:
        CommandError: it cannot be loaded, or there is no such device.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        raise CommandError(f"there is no model folder at {source!r}")
    source = str(Path(source).expanduser()) if Path(source).expanduser().is_dir() else source
    where = checked_device(device)
    try:
        AutoConfig.from_pretrained(source)  # the smallest file first: without network, each one is retried for long
        processor = AutoProcessor.from_pretrained(source)
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype)
    except Exception as problem:  # loading runs code of many libraries, each with errors of its own
        first = str(problem).strip().split("\n")[0] or type(problem).__name__
        raise CommandError(f"cannot load the model {source!r}: {first}") from problem
    return model.eval().to(where), processor


def checked_device(device: str | None) -> Any:
    """A torch device that can be used.

    Raises:
        CommandError: it cannot.
    """
    import torch

    if device is None:
        return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as problem:
        first = str(problem).split("\n")[0]
        raise CommandError(
            f"cannot use the device {device!r}: {first}; use cpu, or a torch that is built for that device"
        ) from problem
