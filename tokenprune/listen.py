"""Where a pipeline's cues come from in a model, and reading them while its vision encoder runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tokenprune.cues import tap
from tokenprune.downsampling import check_downsampling
from tokenprune.errors import AttachError, MissingCue
from tokenprune.family import Family, Model, Tower, submodule, tower_of
from tokenprune.layers import attending, layer_at, layers_path
from tokenprune.patches import cutter_of, grey_histogram
from tokenprune.pipeline import Pipeline
from tokenprune.reductions import OF_ALL, OF_CLS, looks, reduce_of
from tokenprune.strategy import nested
from tokenprune.tokens import OF_NO_LAYER, PIXELS, SPACES, TEXT


class Settings:
    """The model's config, with what a call overrides."""

    def __init__(self, config: Any, call: Mapping[str, Any]) -> None:
        self._config, self._call = config, call

    def __getattr__(self, name: str) -> Any:
        value = self._call.get(name)
        return getattr(self._config, name) if value is None else value


def cue_sources(family: Family, model: Model, pipeline: Pipeline, call: Mapping[str, Any]) -> dict[str, str]:
    """Where each cue a pipeline reads comes from: {name as it is read: ``NAME@LAYER``}.

    Raises:
        MissingCue: this model does not give one of them.
        UnknownFamily: the family is not built with this encoder.
        AttachError: the pipeline was made for another encoder.
        UnsupportedMode: the pipeline reads smaller images, which this encoder does not take.
    """
    if pipeline.stages[0].site == "image":
        check_downsampling(family, model)
    encoder, spec = tower_of(family, model)
    given = cues_of(spec)
    _check_encoder(model, pipeline)
    free = frozenset[str]() if family.cross else TEXT | SPACES  # what looks at images sideways is read before those
    free -= {"encoder"} if family.projector is None else set()
    free |= {PIXELS} if cutter_of(encoder, spec) is not None else set()
    sources = {}
    for wish in pipeline.reads_outside:
        found = next((name for name in wish.split("|") if kind_of(name) in given or name in free), None)
        if found is None:
            raise MissingCue(
                f"{pipeline.name!r} reads {wish.replace('|', ' or ')}; {type(model).__name__} gives "
                f"{', '.join(sorted(given)) or 'no cue'}"
                + (" (add @LAYER for another layer than the default)" if given else "; 'divprune' needs none")
            )
        if found in free:
            sources[found] = found
            continue
        kind, _, at = found.partition("@")
        layers = attending(encoder, spec)
        layer = layer_at(at, layers, found) if at else default_layer(family, model, kind, layers, call)
        sources[found] = f"{kind}@{layer}"
    return sources


def kind_of(cue: str) -> str:
    """A cue without its number and its layer: ``global_attention`` of ``global_attention:3@-2``."""
    return cue.partition("@")[0].partition(":")[0]


def _check_encoder(model: Model, pipeline: Pipeline) -> None:
    vision = getattr(model.config, "vision_config", None)
    parts = (part for stage in pipeline.stages for outer in stage.parts for part in nested(outer))
    for name, wanted in (pair for part in parts for pair in part.needs_encoder.items()):
        if (found := getattr(vision, name, None)) != wanted:
            raise AttachError(
                f"{pipeline.name!r} is for a vision encoder of {name} {wanted!r}; that of {type(model).__name__} has "
                f"{found!r}. Name the folder of what this model was built with"
            )


def cues_of(spec: Tower) -> frozenset[str]:
    """The cues that an encoder gives."""
    if not spec.attention or spec.reads:
        return frozenset(spec.reads)
    return OF_ALL | OF_CLS if spec.cls else OF_ALL


def default_layer(family: Family, model: Model, kind: str, layers: list[bool], call: Mapping[str, Any]) -> int:
    """The layer whose output the language model gets; without CLS token the last one."""
    _, spec = tower_of(family, model)
    if spec.cls is None:
        return max((layer for layer, attends in enumerate(layers) if attends), default=len(layers) - 1)
    state = family.feature_layer(Settings(model.config, call)) % (len(layers) + 1)
    if not state:
        raise MissingCue(
            f"the language model gets the encoder's embeddings, which no attention led to; write {kind}@LAYER"
        )
    return state - 1


@dataclass
class Heard:
    """What was read while the encoder ran.

    Args:
        cues: what each call of a tapped module gave, by the name the cue is read under.
        encoder: what entered the projector, one call after the other. Empty: the family names no projector.
        looks: [b, Q, K] how latents look at the encoder's outputs, and at latents after them. Empty: there are none.
    """

    cues: dict[str, list[Tensor]] = field(default_factory=dict)
    encoder: list[Tensor] = field(default_factory=list)
    looks: list[Tensor] = field(default_factory=list)


@contextmanager
def listening(family: Family, model: Model, sources: Mapping[str, str]) -> Iterator[Heard]:
    """Tap the attention modules that are asked for, and note what enters the projector; all of it is taken back.

    Only what this thread runs counts: others may be using the model.

    Raises:
        AttachError: a module that was tapped did not run, or does not go through the attention interface.
    """
    thread = threading.get_ident()
    encoder, spec = tower_of(family, model)
    heard = Heard()

    def note(_: Any, inputs: tuple[Tensor, ...], given: dict[str, Any]) -> None:
        if threading.get_ident() == thread:
            heard.encoder.append(inputs[0] if inputs else next(iter(given.values())))

    with ExitStack() as stack:
        if family.projector is not None:
            hook = submodule(model.base_model, family.projector).register_forward_pre_hook(note, with_kwargs=True)
            stack.callback(hook.remove)
        if PIXELS in sources:
            stack.callback(_on_patches(encoder, spec, model.config, heard, thread))
        taps = []
        read = {name: source for name, source in sources.items() if source not in OF_NO_LAYER}
        for layer in dict.fromkeys(source.partition("@")[2] for source in read.values()):
            stem, attention = layers_path(encoder, spec)
            here = {name: source for name, source in read.items() if source.endswith(f"@{layer}")}
            reads = Reads(here, model.config, spec, heard)
            taps.append(stack.enter_context(tap(submodule(encoder, f"{stem}.{layer}.{attention}"), reads)))
        if sources and family.resampler is not None:
            taps.append(stack.enter_context(tap(submodule(model.base_model, family.resampler), looks)))
            heard.looks = taps[-1].values
        yield heard
        for found in taps:
            found.require()


def _on_patches(encoder: Any, spec: Tower, config: Any, heard: Heard, thread: int) -> Callable[[], None]:
    """Note the pixels that are cut into patches; what is returned takes it back."""
    cutter = cutter_of(encoder, spec)
    before, after = spec.registers(config) + (spec.cls == "first"), int(spec.cls == "last")

    def note(_: Any, inputs: tuple[Tensor, ...], given: dict[str, Any]) -> None:
        if threading.get_ident() == thread:
            images = inputs[0] if inputs else next(iter(given.values()))
            found = grey_histogram(images, cutter.kernel_size, before, after)
            heard.cues.setdefault(PIXELS, []).append(found)

    return cutter.register_forward_pre_hook(note, with_kwargs=True).remove  # type: ignore[no-any-return]


class Reads:
    """The cues that come from one layer."""

    def __init__(self, sources: Mapping[str, str], config: Any, spec: Tower, heard: Heard) -> None:
        at = 0 if spec.cls == "first" else -1
        kinds = {name: source.partition("@")[0] for name, source in sources.items()}
        own = {kind: make(config) for kind, make in spec.reads.items()}
        self.reduces = {name: own[kind] if kind in own else reduce_of(kind, at) for name, kind in kinds.items()}
        self.heard = heard

    def __call__(self, query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """Read them all."""
        for name, reduce in self.reduces.items():
            value = reduce(query, key, mask, scale)
            self.heard.cues.setdefault(name, []).append(value)
        return value
