"""Ways of counting FLOPs that papers use; figures of different ways cannot be compared.

``measured`` counts what runs. The others are formulas for a language model whose layers are all alike: the projections
of attention, the two products inside it, and the matrices of the feed-forward network. Published for full multi-head
attention, they are given the sizes of the heads here, so that grouped queries count as what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenprune.errors import AttachError
from tokenprune.family import Config


@dataclass(frozen=True)
class Convention:
    """One way of counting.

    Args:
        scope: what counts, in words.
        flops: what one multiply-accumulate counts as.
        matrices: of the feed-forward network. 0: no formula, what runs is counted.
        text: whether text and separators count.
        tower: whether the vision encoder counts.
    """

    scope: str
    flops: int = 2
    matrices: int = 0
    text: bool = False
    tower: bool = False


CONVENTIONS = {
    "measured": Convention(
        "matrix products and convolutions that run, 2 FLOPs a multiply-accumulate: vision encoder, projector, choice "
        "of tokens, and the language model's prefill over all slots, with the logits of the last"
    ),
    "fastv": Convention(
        "formula, 1 FLOP a multiply-accumulate: language model without logits, all slots, two matrices of the "
        "feed-forward network (FastV, arXiv 2403.06764)",
        flops=1,
        matrices=2,
        text=True,
    ),
    "pyramiddrop": Convention(
        "formula, 1 FLOP a multiply-accumulate: language model without logits, visual tokens alone, three matrices of "
        "the feed-forward network (PyramidDrop, arXiv 2410.17247)",
        flops=1,
        matrices=3,
    ),
    "vispruner": Convention(
        "formula, 2 FLOPs a multiply-accumulate: language model without logits, visual tokens alone, three matrices of "
        "the feed-forward network; and the vision encoder, as it runs (VisPruner, arXiv 2412.01818)",
        flops=2,
        matrices=3,
        tower=True,
    ),
}


_UNLIKE = ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank")  # experts, and compressed keys


def by_formula(convention: Convention, config: Config, counts: Sequence[int]) -> int:
    """FLOPs of a language model's prefill.

    Args:
        convention: one with a formula.
        config: of the language model.
        counts: the visual tokens, or slots, that each layer gets.

    Raises:
        AttachError: the layers of this model are not those of the formula.
    """
    inner, strange = (
        getattr(config, "intermediate_size", None),
        [name for name in _UNLIKE if getattr(config, name, None)],
    )
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not isinstance(inner, int) or strange or kinds != {"full_attention"}:
        raise AttachError(
            f"the formula takes layers that are all alike and dense, and those of {config.model_type!r} are not; count "
            "with --convention measured"
        )
    wide = config.hidden_size
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or wide // heads
    narrow = head * (getattr(config, "num_key_value_heads", None) or heads)
    projections = 2 * wide * (head * heads + narrow)
    layers = (
        count * projections + 2 * count**2 * head * heads + convention.matrices * count * wide * inner
        for count in counts
    )
    return int(convention.flops * sum(layers))
