"""What one attention module looks at, read on the side while the model keeps its own attention kernel.

SDPA and flash attention never build the attention matrix. The part that a scorer reads, one row or one mean, is
computed here in float32 from the queries and keys of the single module asked for, as the encoder runs.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tokenprune.errors import AttachError
from tokenprune.reductions import Reduce

_OURS = "tokenprune"  # the one name registered with transformers
_MARK = "_tokenprune_tap"  # where a module carries its tap


class Tap:
    """What was read from one module by the thread that taps it; other threads may run it meanwhile.

    Args:
        module: the attention module.
        reduce: called with query [B, H, Q, d], key [B, Hkv, K, d], mask (additive, or bool with true = attend;
            broadcasts to [B, H, Q, K]; None: all attend to all) and the scale of the logits.
    """

    def __init__(self, module: nn.Module, reduce: Reduce):
        self.module, self.reduce = module, reduce
        self.config: Any = vars(module).get("config")
        self.real = copy(module)  # the attention function gets this one, which is never tapped; parameters are shared
        self.thread = threading.get_ident()
        self.values: list[Tensor] = []
        self.first = False  # whether it is read before it attends

    @property
    def value(self) -> Tensor:
        """All that was read, along the first axis; errors as in `require`."""
        self.require()
        return self.values[0] if len(self.values) == 1 else torch.cat(self.values)

    def require(self) -> None:
        """Raise `AttachError` if nothing was read: the module did not run or has an attention of its own."""
        if not self.values:
            raise AttachError(
                f"the tapped {type(self.module).__name__} gave nothing: it did not run inside the block or does not go "
                "through transformers' attention interface. Tap another module, or do without this cue."
            )

    def run(self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *rest: Any, **options: Any) -> Any:
        """The real attention, with a module that has its real config; then read."""
        name = self.config._attn_implementation
        if self.first:
            self._read(name or "eager", query, key, attention_mask, options)
        out = _implementation(self.real, name)(self.real, query, key, value, attention_mask, *rest, **options)
        if torch.compiler.is_compiling() or threading.get_ident() == self.thread:
            kind = "cpu" if query.is_meta else query.device.type  # what has no values has no autocast of its own
            with torch.no_grad(), torch.autocast(kind, enabled=False):
                self._read(name or "eager", query, key, attention_mask, options)
        return out

    def _read(self, name: str, query: Tensor, key: Tensor, mask: Any, options: dict[str, Any]) -> None:
        for term in ("softcap", "position_bias", "s_aux"):
            if options.get(term) is not None:
                raise AttachError(f"{type(self.module).__name__} changes its logits with {term!r}; no cue reads that")
        scale = options.get("scaling") or query.shape[-1] ** -0.5
        bounds = options.get("cu_seq_lens_q")
        parts = [(query, key)]
        if "flash" in name and bounds is not None:  # one call for sequences laid end to end
            parts = [(query[:, :, a:b], key[:, :, a:b]) for a, b in pairwise(bounds.tolist())]
        self.values += [self.reduce(q, k, self._mask(name, q, k, mask, options), scale) for q, k in parts]

    def _mask(self, name: str, query: Tensor, key: Tensor, mask: Any, options: dict[str, Any]) -> Tensor | None:
        """What the kernel adds to the mask it is given, made explicit."""
        count, length = query.shape[2], key.shape[2]
        if mask is not None and not isinstance(mask, Tensor):
            raise AttachError(
                f"cannot read the attention of {type(self.module).__name__} under a {type(mask).__name__}"
            )
        if mask is not None and mask.ndim == 4:
            return mask[..., :length]
        padding = None if mask is None else mask[:, None, None, :length].bool()  # [B, 1, 1, K]
        causal = options.get("is_causal")
        causal = getattr(self.module, "is_causal", True) if causal is None else causal
        if not causal or count == 1 or name == "eager":
            return padding
        past = torch.ones(count, length, dtype=torch.bool, device=query.device)  # [Q, K]
        past = past.tril(length - count if "flash" in name else 0)  # flash aligns the last query with the last key
        return past[None, None] if padding is None else past & padding


@contextmanager
def tap(module: nn.Module, reduce: Reduce) -> Iterator[Tap]:
    """Read what ``reduce`` makes of ``module``'s queries and keys each time it runs inside the block.

    Only this module is touched, and only inside the block: it gets a copy of its config whose attention implementation
    is looked up as ours. What the model computes does not change.

    Raises:
        AttachError: the module has no config to go by, or is tapped already.
    """
    found = Tap(module, reduce)
    state = vars(module)
    config = copy(found.config)
    if not hasattr(config, "_attn_implementation_internal"):
        raise AttachError(f"cannot tap {type(module).__name__}: it has no transformers config that names its attention")
    config._attn_implementation_internal = _Name(found.config._attn_implementation or "eager")
    _register()
    if state.setdefault(_MARK, found) is not found:
        raise AttachError(f"this {type(module).__name__} is tapped already; leave the first block before the second")
    try:
        state["config"] = config
        yield found
    finally:
        state["config"] = found.config
        del state[_MARK]


class _Stop(Exception):
    """Queries and keys have been read."""


def peek(layer: Any, module: nn.Module, states: Tensor, given: Mapping[str, Any]) -> Any:
    """Queries, keys, mask and scale of a layer that is about to run; it stops before it attends.

    Args:
        layer: the layer.
        module: its attention.
        states: [B, S, C] what would enter it.
        given: its other arguments; without a cache, so that it writes to none.

    Raises:
        AttachError: as in `tap`.
    """
    found: list[Any] = []

    def note(*seen: Any) -> Tensor:
        found.append(seen)
        raise _Stop

    with torch.no_grad(), tap(module, note) as tapped:
        tapped.first = True
        try:
            layer.forward(states, **given)
        except _Stop:
            return found[0]
        tapped.require()
    raise AssertionError("unreachable")


class _Name(str):
    """Reads like the real implementation's name, and is found in a dict as ours.

    Code in a module branches on it (``"flash" in name``, ``name == "sdpa"``); only the registry looks it up by hash.
    """

    def __eq__(self, other: object) -> bool:
        return other == _OURS or str.__eq__(self, other)

    def __hash__(self) -> int:
        return hash(_OURS)


def _register() -> None:
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(_OURS, _dispatch)


def _dispatch(module: nn.Module, *inputs: Any, **options: Any) -> Any:
    found = vars(module).get(_MARK)
    if found is None:  # another thread has left its block since this one looked the attention up
        config: Any = module.config
        return _implementation(module, config._attn_implementation)(module, *inputs, **options)
    return found.run(*inputs, **options)


def _implementation(module: nn.Module, name: str | None) -> Callable[..., Any]:
    """What the module would have called: eager attention is in no registry, each model file has its own."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    forward = inspect.unwrap(type(module).forward)
    beside = forward.__globals__
    eager = next((beside[word] for word in forward.__code__.co_names if word.endswith("eager_attention_forward")), None)
    registry: Any = beside.get("ALL_ATTENTION_FUNCTIONS", ALL_ATTENTION_FUNCTIONS)
    return registry.get_interface(name, eager)  # type: ignore[no-any-return]
