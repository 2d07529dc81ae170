"""Two oracles that share nothing with the implementation: the language model by hand, and masked columns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokenprune.receipt import Receipt
from tokenprune.testing.family.crossed import equals_masked_images
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.streams import deep_streams, per_layer, per_token, stream
from tokenprune.testing.family.subject import BUDGET, STEPS, TOLERANCE, Heard, Subject, agree, most
from tokenprune.testing.search import require


def equals_run_by_hand(subject: Subject) -> str:
    """The language model, run without cache on each prompt's embeddings that stay, gives the same hidden states."""
    _needs_slots(subject)
    alone = subject.in_company() > TOLERANCE  # the unmodified model cannot do batches
    calls = [subject.call(one) for one in subject.prompts] if alone else [subject.call()]
    worst = max(_runs_by_hand(subject, call) for call in calls)
    policies = " and ".join(subject.family.policies)
    return f"hidden states within {worst:.0e}, {policies}{', each prompt alone' if alone else ''}"


def _runs_by_hand(subject: Subject, call: dict[str, Any]) -> float:
    full, worst = subject.full(call), 0.0
    own = full.given.get("position_ids")
    same = {} if own is None or own.ndim > 2 else {"position_ids": own}  # forward counts padding, generate does not
    for policy in subject.family.policies:
        with subject.attached(positions=policy) as pruned:
            with subject.listening() as heard:
                ids, _ = subject.generate(call)
            logits = subject.forward({**call, **same})
        assert pruned.receipt is not None
        for sample, slots in enumerate(pruned.receipt.slots):
            new = ids[sample, -STEPS:-1]
            more = per_layer(full, heard[1:], sample, slots)
            hand = _by_hand(subject, call, full, sample, slots, new, policy, more)
            found = torch.cat([heard[0].gave[sample, -len(slots) :], *(one.gave[sample] for one in heard[1:])])
            worst = max(worst, agree(found, hand, f"{policy}: the pruned model and the one run by hand"))
            worst = max(worst, _logits_agree(subject, hand[: len(slots)], logits[sample], slots))
    return worst


def equals_masked(subject: Subject) -> str:
    """The unmodified model with the dropped columns masked gives the same ids and logits."""
    if not subject.family.takes_positions:
        raise NotApplicable("this model counts places by itself, and masked columns are places too")
    if subject.family.cross is not None:
        return equals_masked_images(subject)
    call, worst = subject.call(), 0.0
    rest = {name: value for name, value in call.items() if name != "input_ids"}
    positions = subject.model._prepare_position_ids_for_generation(call["input_ids"], dict(rest))
    for budget in (BUDGET, 3):
        with subject.attached(budget, positions="keep") as pruned:
            found = subject.generate(call)
        assert pruned.receipt is not None
        masked = {**call, "attention_mask": _only(call["attention_mask"], pruned.receipt), "position_ids": positions}
        oracle = subject.generate(masked)
        difference = most(found[1], oracle[1])
        if difference > TOLERANCE and (own := _masking_changes(subject)) > TOLERANCE:
            raise NotApplicable(f"masked columns amid a text change the unmodified model's logits by {own:.1e}")
        worst = max(worst, agree(found[1], oracle[1], "the pruned model and the masked one"))
        require(torch.equal(found[0], oracle[0]), "the pruned model and the masked one say the same")
    return f"logits within {worst:.0e}"


def streams_are_cut_alike(subject: Subject) -> str:
    """Everything per token that the language model is handed is that of the full prompt at the columns that stay."""
    _needs_slots(subject)
    call, policy = subject.call(), subject.family.policies[0]
    full = subject.full(call).given
    with subject.attached(positions=policy) as pruned, subject.listening() as heard:
        subject.generate(call, max_new_tokens=1)
    assert pruned.receipt is not None
    short, seen = heard[0].given, []
    for name, value in full.items():
        if name == "position_ids" and policy != "keep":
            continue
        for sample, slots in enumerate(pruned.receipt.slots):
            left = stream(name, value, full, sample, slots)
            if left is None:
                continue
            right = stream(name, short[name], short, sample, None, count=len(slots))
            assert right is not None
            require(
                len(left) == len(right) and all(map(torch.equal, left, right)), f"{name} is cut like the ids", sample
            )
            seen.append(name)
    require("inputs_embeds" in seen, "the language model is handed embeddings", sorted(full))
    return ", ".join(dict.fromkeys(seen))


def _needs_slots(subject: Subject) -> None:
    if subject.family.cross is not None:
        raise NotApplicable("the prompt is not shortened, since the language model looks at images by cross-attention")


def _by_hand(
    subject: Subject,
    call: dict[str, Any],
    full: Heard,
    sample: int,
    slots: Tensor,
    new: Tensor,
    policy: str,
    more: dict[str, Any],
) -> Tensor:
    """[S, C] what the language model gives for the columns that stay and the ids decoded after them."""
    given, model = full.given, subject.model
    with torch.no_grad():
        embeds = torch.cat([given["inputs_embeds"][sample, slots], model.get_input_embeddings()(new)])
    own = call["attention_mask"].cumsum(-1) - 1 if given.get("position_ids") is None else given["position_ids"]
    made = _positions(call, own, sample, slots, len(new), policy)
    positions = made[1:] if _counts_texts(subject, made) else made
    visual = subject.visual(call["input_ids"][sample, slots])
    visual = torch.cat([visual, torch.zeros(len(new), dtype=torch.bool)])
    more = {**more, **deep_streams(given, visual, sample, slots), **per_token(call, given, sample, slots, new)}
    mask = torch.ones(1, len(embeds), dtype=torch.long)
    with torch.no_grad():
        output = subject.language_model(
            inputs_embeds=embeds[None],
            position_ids=positions[..., None, :],
            attention_mask=mask if subject.mask is None else subject.mask(model, visual, len(slots)),
            use_cache=False,
            **more,
        )
    hidden: Tensor = output[0][0]
    return hidden


def _positions(call: dict[str, Any], positions: Tensor, sample: int, slots: Tensor, new: int, policy: str) -> Tensor:
    """[S] or [A, S] position ids of the columns that stay, and of what is decoded after them."""
    mine = positions.expand(*positions.shape[:-2], len(call["input_ids"]), -1)[..., sample, :]
    if policy == "renumber" and mine.ndim == 1:
        dropped = call["attention_mask"][sample].bool()
        dropped[slots] = False
        mine = mine - dropped.cumsum(0)
    return torch.cat([mine[..., slots], mine[..., -1:] + 1 + torch.arange(new)], -1)


def _counts_texts(subject: Subject, positions: Tensor) -> bool:
    """Whether the first axis of [A, S] position ids only says where texts begin: one more than there are sections."""
    rope = getattr(subject.language_model.config, "rope_parameters", None) or {}
    return positions.ndim == 2 and len(positions) == len(rope.get("mrope_section") or (0, 0, 0)) + 1


def _logits_agree(subject: Subject, hidden: Tensor, logits: Tensor, slots: Tensor) -> float:
    """``forward`` gives logits at the columns that stay, NaN elsewhere; the head is linear up to one factor."""
    dropped = torch.ones(len(logits), dtype=torch.bool)
    dropped[slots] = False
    require(bool(logits[dropped].isnan().all()), "forward gives NaN at columns that were dropped")
    head = subject.model.get_output_embeddings() or subject.model.get_submodule("language_model.lm_head")
    with torch.no_grad():
        made = hidden if hidden.shape[-1] == logits.shape[-1] else head(hidden)
    ratio = float((logits[slots] * made).sum() / (made * made).sum())
    return agree(logits[slots], made * ratio, "forward's logits and those of the run by hand", 5 * TOLERANCE)


def _only(mask: Tensor, receipt: Receipt) -> Tensor:
    """[B, L] the mask with nothing but the columns that stay."""
    kept = torch.zeros_like(mask)
    for sample, slots in enumerate(receipt.slots):
        kept[sample, slots] = mask[sample, slots]
    return kept


def _masking_changes(subject: Subject) -> float:
    """By how much masked columns amid a text change the logits of the unmodified model after them."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 20, (1, 60), generator=generator)
    mask = torch.ones_like(ids)
    mask[:, 10:50] = 0
    at, here = torch.arange(60)[None], mask[0].bool()
    with torch.no_grad():
        long = subject.model(input_ids=ids, attention_mask=mask, position_ids=at).logits[:, here]
        short = subject.model(input_ids=ids[:, here], attention_mask=mask[:, here], position_ids=at[:, here]).logits
    return most(long, short)
