"""What a prompt asks, as the language model's own word embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokenprune.family import Model
from tokenprune.tokens import Cue


def question_cues(
    model: Model, ids: Tensor, mask: Tensor | None, placeholder: Tensor, sample: Tensor
) -> dict[str, Cue]:
    """What the prompt of each row asks, ``sample`` [B] of them, read when it is needed; the rest as `question_of`."""
    return {
        "question": lambda: question_of(model, ids, mask, placeholder)[sample],
        "question_ids": lambda: question_ids(model, ids, mask, placeholder)[sample][..., None],
    }


def question_ids(model: Model, ids: Tensor, mask: Tensor | None, placeholder: Tensor) -> Tensor:
    """[P, M] int64, the ids of these words; -1 where a prompt is shorter than the longest."""
    order, spoken = words_of(model, ids, mask, placeholder)
    return ids.gather(1, order).masked_fill(~spoken, -1)


def question_of(model: Model, ids: Tensor, mask: Tensor | None, placeholder: Tensor) -> Tensor:
    """[P, M, C] float32, the words that `words_of` finds; zero where a prompt is shorter than the longest.

    Args:
        model: the model, for its word embeddings.
        ids: [P, T] int64.
        mask: [P, T], zero where a prompt is padding. None: nowhere.
        placeholder: [P, T] bool, where it takes feature rows.
    """
    order, spoken = words_of(model, ids, mask, placeholder)
    words: Tensor = model.get_input_embeddings()(ids.gather(1, order)).detach().float()  # [P, M, C]
    return words * spoken[..., None]


def words_of(model: Model, ids: Tensor, mask: Tensor | None, placeholder: Tensor) -> tuple[Tensor, Tensor]:
    """[P, M] int64, the columns of the text of each prompt, and [P, M] bool, false where a prompt has fewer words.

    The text is what follows the last image, or all text where nothing does. Padding, placeholders and the special
    tokens that the generation config names are left out; words of a chat template are text like others.

    Args:
        model: the model, for its special tokens.
        ids: [P, T] int64.
        mask: [P, T], zero where a prompt is padding. None: nowhere.
        placeholder: [P, T] bool, where it takes feature rows.
    """
    text = ~placeholder & ~torch.isin(ids, _special(model).to(ids.device))
    text = text if mask is None else text & mask.bool()
    last = torch.where(placeholder, torch.arange(ids.shape[1], device=ids.device), -1).amax(1, keepdim=True)
    after = text & (torch.arange(ids.shape[1], device=ids.device) > last)
    text = torch.where(after.any(1, keepdim=True), after, text)  # [P, T]
    order = text.byte().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(text.sum(1).max()))]  # [P, M]
    return order, text.gather(1, order)


def _special(model: Model) -> Tensor:
    """Ids of the tokens that begin, end and pad a text."""
    config: Any = getattr(model, "generation_config", None)
    ids = [getattr(config, f"{name}_token_id", None) for name in ("bos", "eos", "pad")]
    flat = [one for found in ids if found is not None for one in (found if isinstance(found, list) else [found])]
    return torch.tensor(flat, dtype=torch.int64)
