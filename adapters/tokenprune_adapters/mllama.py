"""Llama 3.2 Vision (Mllama): tiles of one size, padded to a fixed number, that the text attends to."""

from collections.abc import Mapping
from typing import Any

import torch

from tokenprune.cross_attention import CrossAttention
from tokenprune.family import Family, Tower
from tokenprune.reductions import Reduce, cls_row, received


def _encode(base: Any, call: Mapping[str, Any]) -> torch.Tensor:
    output = base.vision_model(**{name: call[name] for name in _PIXELS})
    states: torch.Tensor = base.multi_modal_projector(output.last_hidden_state)
    return states.reshape(-1, *states.shape[-2:])


def _tiles(config: Any, call: Mapping[str, Any]) -> torch.Tensor:
    ids = call["aspect_ratio_ids"]  # 0: no image
    return torch.tensor([[0, 0], *config.vision_config.supported_aspect_ratios], device=ids.device)[ids]


def _cls_of_each_tile(config: Any) -> Reduce:
    """What the CLS token of each tile pays to its own tile; all tiles of an image are one sequence."""
    tiles: int = config.vision_config.max_num_tiles

    def rows(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float) -> torch.Tensor:
        size = key.shape[2] // tiles
        each = [cls_row(at)(query, key, mask, scale)[..., at : at + size] for at in range(0, size * tiles, size)]
        return torch.cat(each, -1)  # [B, H, K]

    return rows


def _by_real_queries(config: Any) -> Reduce:
    """Received attention, averaged over queries that are no padding: those that padding is not hidden from."""

    def mean(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float) -> torch.Tensor:
        assert mask is not None
        real = (mask == 0).all(-1)[:, 0]  # [B, Q]
        pairs = zip(query, key, real, strict=True)
        return torch.cat([received()(q[None, :, ok], k[None], None, scale) for q, k, ok in pairs])

    return mean


_PIXELS = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
_READS = {"cls_attention": _cls_of_each_tile, "received_attention": _by_real_queries}
MLLAMA = Family(
    model_types=("mllama",),
    towers={"mllama_vision_model": Tower(("global_transformer.layers.{}.self_attn",), reads=_READS)},
    tower="vision_model",
    placeholder="image_token_index",
    feature_layer=lambda config: -1,
    positions="keep",
    cross=CrossAttention(encode=_encode, tiles=_tiles, pixels=_PIXELS),
)
