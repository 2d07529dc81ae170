"""What takes the place of slots where the language model looks at images through cross-attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tokenprune.cross_attention import CrossAttention, encode_crossed
from tokenprune.receipt import Receipt
from tokenprune.testing.family.subject import BUDGET, Subject, agree
from tokenprune.testing.search import require


def equals_masked_images(subject: Subject) -> str:
    """The unmodified model, whose language model sees dropped columns of the images masked, says the same."""
    call, worst = subject.call(), 0.0
    for budget in (BUDGET, 3):
        with subject.attached(budget) as pruned:
            found, logits = subject.generate(call), subject.forward(call)
        assert pruned.receipt is not None
        with _masked(subject, _columns(subject, call, pruned.receipt)):
            oracle, full = subject.generate(call), subject.forward(call)
        require(torch.equal(found[0], oracle[0]), "the pruned model and the masked one say the same")
        there = call["attention_mask"].bool()
        worst = max(worst, agree(found[1], oracle[1], "the pruned model and the masked one"))
        worst = max(worst, agree(logits[there], full[there], "forward of the pruned model and of the masked one"))
    return f"logits within {worst:.0e}"


def images_got(subject: Subject, given: dict[str, Any], receipt: Receipt) -> tuple[int, int]:
    """Columns of the images that any slot of the language model sees, and that the receipt says."""
    cross = _cross(subject)
    mask: Tensor = given[cross.mask]  # [B, 1, Q, columns]
    seen = (mask > torch.finfo(mask.dtype).min).any(2)
    require(mask.shape[3] == given[cross.states].shape[1], "the mask has the columns of the states", mask.shape)
    return int(seen.sum()), receipt.after + receipt.separators


def _cross(subject: Subject) -> CrossAttention:
    cross = subject.family.cross
    assert cross is not None
    return cross


def _columns(subject: Subject, call: dict[str, Any], receipt: Receipt) -> Tensor:
    """[B, columns] bool, those that the receipt says stay."""
    with torch.no_grad():
        encoded, there = encode_crossed(subject.family, subject.model, call, subject.pipeline)
    image = encoded.tokens.group.repeat_interleave(encoded.tokens.shape[1])  # of each token
    chosen = torch.zeros(len(image), dtype=torch.bool)
    for number, one in enumerate(receipt.images):
        chosen[(image == number).nonzero()[one.kept, 0]] = True
    separator = encoded.index < 0
    return torch.where(separator, True, chosen[encoded.index.clamp(min=0)]).view(there.shape) & there


@contextmanager
def _masked(subject: Subject, stays: Tensor) -> Iterator[None]:
    """Hide columns [B, columns] of the images from the language model."""
    name = _cross(subject).mask

    def hide(_: Any, args: Any, given: dict[str, Any]) -> Any:
        mask = given[name].masked_fill(~stays[:, None, None], torch.finfo(given[name].dtype).min)
        return args, {**given, name: mask}

    hook = subject.language_model.register_forward_pre_hook(hide, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
