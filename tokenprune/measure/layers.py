"""What each layer of a language model costs at each length, counted without weights.

Tokens may leave between two layers. So a prompt is a list of slots, one number a layer, and its cost is the sum of what
each layer costs at its own number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tokenprune.errors import AttachError
from tokenprune.family import Family, Model, submodule
from tokenprune.measure.flops import Counted, flops
from tokenprune.measure.meta import running_without_weights


@dataclass(frozen=True)
class Costs:
    """At one length.

    Args:
        prefill: FLOPs of each layer.
        decode: FLOPs of each layer for one token more.
        cache: elements that each layer keeps of its keys and values.
        around: FLOPs of a prefill outside the layers: rotary angles, and the logits of the last token.
        beside: the same of one token more.
    """

    prefill: list[int]
    decode: list[int]
    cache: list[int]
    around: int
    beside: int


class LanguageCost:
    """The language model of a vision-language model on the meta device.

    Raises:
        AttachError: its layers cannot be told apart.
    """

    def __init__(self, family: Family, model: Model) -> None:
        self.model, self.config = model, model.config.get_text_config()
        self.language: Any = submodule(model.base_model, family.language_model)
        self.depth = int(self.config.num_hidden_layers)
        self.path = self._path()
        self.layers: Any = submodule(self.language, self.path)
        self._known: dict[int, Costs] = {}

    def _path(self) -> str:
        """The path of the list of layers."""
        for name, module in self.language.named_modules():
            if isinstance(module, nn.ModuleList) and len(module) == self.depth and name.endswith("layers"):
                return str(name)
        raise AttachError(f"{type(self.language).__name__} has no list of {self.depth} layers; its cost is not counted")

    def at(self, slots: int) -> Costs:
        """The cost at one length; each is counted once."""
        if slots not in self._known:
            self._known[slots] = self._count(slots)
        return self._known[slots]

    def _count(self, slots: int) -> Costs:
        cache = self._empty()
        whole = self._run(slots, cache)
        kept = [sum(part.numel() for part in _kept(layer)) for layer in cache.layers]
        one = self._run(1, cache)
        prefill, decode = self._split(whole), self._split(one)
        around, beside = whole.total - sum(prefill), one.total - sum(decode)
        return Costs(prefill, decode, kept, around, beside)

    def _empty(self) -> Any:
        """A cache; without one the model reads values to make its mask."""
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    def _run(self, slots: int, cache: Any) -> Counted:
        """So many slots more, and the logits of the last.

        Raises:
            AttachError: it does not run on the meta device.
        """
        table = self.model.get_input_embeddings().weight
        words = table.new_zeros(1, slots, table.shape[-1])
        try:
            with flops() as counted, torch.no_grad(), running_without_weights():
                states = self.language(inputs_embeds=words, past_key_values=cache, use_cache=True)[0]  # [1, slots, C]
                self.model.get_output_embeddings()(states[:, -1:])
        except (RuntimeError, ValueError, TypeError) as problem:
            first = str(problem).strip().split("\n")[0].rstrip(".")
            raise AttachError(
                f"the language model of {type(self.model).__name__} does not run without weights: {first}; count it on "
                "a real run with tokenprune.measure.flops"
            ) from problem
        return counted

    @property
    def width(self) -> int:
        """Of its hidden states."""
        return int(self.model.get_input_embeddings().weight.shape[-1])

    def given(self, layer: Any, slots: int) -> tuple[torch.Tensor, dict[str, Any]]:
        """What a layer is given of a prompt of so many slots: states [1, slots, C], and the rest but for the cache."""
        found: list[Any] = []
        hook = layer.register_forward_pre_hook(lambda _, *given: found.append(given), with_kwargs=True)
        try:
            self._run(slots, self._empty())
        finally:
            hook.remove()
        (args, named) = found[0]
        rest = {name: value for name, value in named.items() if name not in ("past_key_values", "hidden_states")}
        return (args[0] if args else named["hidden_states"]), rest

    def _split(self, counted: Counted) -> list[int]:
        stem = f"{type(self.language).__name__}.{self.path}"
        return [counted.by_module.get(f"{stem}.{layer}", 0) for layer in range(self.depth)]

    def prefill(self, slots: Sequence[int]) -> int:
        """FLOPs of a prefill.

        Args:
            slots: how many each layer gets, visual tokens, separators and text.
        """
        return self.at(slots[0]).around + sum(self.at(count).prefill[layer] for layer, count in enumerate(slots))

    def decode(self, slots: Sequence[int]) -> int:
        """FLOPs of the first token after a prompt of so many slots in each layer."""
        return self.at(slots[0]).beside + sum(self.at(count).decode[layer] for layer, count in enumerate(slots))

    def cache(self, slots: Sequence[int]) -> list[int]:
        """Elements that each layer keeps of the keys and values of so many slots."""
        return [self.at(count).cache[layer] if count else 0 for layer, count in enumerate(slots)]


def _kept(layer: Any) -> list[torch.Tensor]:
    """What one layer of a cache holds for each slot."""
    return [part for part in (getattr(layer, "keys", None), getattr(layer, "values", None)) if part is not None]
