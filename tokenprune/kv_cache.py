"""What the key-value cache of a language model takes."""

from __future__ import annotations

from typing import Any


def bytes_of(language: Any, columns: int, layers: int | None = None) -> int | None:
    """Bytes that keys and values of some columns take.

    Args:
        language: the language model.
        columns: of all prompts together.
        layers: in so many layers. None: in all of them.

    Returns:
        None where layers do not keep keys and values of every column alike: windows, states, latent keys.
    """
    config = language.config
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds or getattr(config, "kv_lora_rank", None) or getattr(config, "num_kv_shared_layers", None):
        return None
    heads = getattr(config, "num_attention_heads", None)
    if heads is None or getattr(config, "sliding_window", None):
        return None
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    pairs = getattr(config, "num_key_value_heads", None) or heads
    depth = len(language.layers) if layers is None else layers
    return int(2 * pairs * size * language.dtype.itemsize * columns * depth)
