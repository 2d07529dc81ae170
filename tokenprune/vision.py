"""Run a model's vision encoder once, and note what is read on the way."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Model
from tokenprune.features import pieces_of
from tokenprune.listen import Heard, listening
from tokenprune.once import once

_TURNS: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()  # models that have been encoded with


@dataclass(frozen=True)
class Run:
    """What came of running the encoder.

    Args:
        output: the model's own output object.
        pieces: the feature rows in it, [L, C] an item.
        heard: what was read on the way.
        sources: where each cue comes from, by the name it is read under.
    """

    output: Any
    pieces: list[Tensor]
    heard: Heard
    sources: Mapping[str, str]


def run_vision(family: Family, model: Model, call: Mapping[str, Any], sources: Mapping[str, str]) -> Run:
    """Run the encoder of one call.

    Args:
        family: the model's family, as it is for what is encoded.
        model: the model.
        call: the keyword arguments of the call.
        sources: where each cue that is wanted comes from, as in `cue_sources`.

    Raises:
        UnsupportedMode: the call brings other pixels than the encoder reads.
        AttachError: an attention that is read did not run.
    """
    method, arguments = getattr(model.base_model, family.method), arguments_of(family, model, call)

    def run() -> tuple[Any, Heard]:
        with _TURNS.setdefault(model, threading.RLock()), listening(family, model, sources) as heard:
            return method(**arguments, return_dict=True), heard

    output, heard = once(method, sources, arguments, run)
    return Run(output, pieces_of(output, family.feature_field), heard, sources)


def arguments_of(family: Family, model: Model, call: Mapping[str, Any]) -> dict[str, Any]:
    """What the encoder reads of a call.

    Raises:
        UnsupportedMode: it needs something that the call does not bring.
    """
    parameters = inspect.signature(getattr(model.base_model, family.method)).parameters.values()
    names = {one.name: family.renamed.get(one.name, one.name) for one in parameters}
    given = {name: call[brought] for name, brought in names.items() if brought in call}
    needed = [names[one.name] for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    if missing := [name for name in needed if name not in call]:
        raise UnsupportedMode(
            f"{family.method} of {type(model).__name__} reads {', '.join(needed)}, and this call brings no "
            f"{', '.join(missing)}; let the processor return that"
        )
    return given
