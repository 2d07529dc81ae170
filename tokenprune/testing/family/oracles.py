"""Two oracles that share nothing with the implementation: the language model by hand, and masked columns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokenprune.receipt import Receipt
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.subject import BUDGET, STEPS, TOLERANCE, Heard, Subject, agree, most
from tokenprune.testing.search import require

POLICIES = ("keep", "renumber")


def equals_run_by_hand(subject: Subject) -> str:
    """The language model, run without cache on each prompt's embeddings that stay, gives the same hidden states."""
    call = subject.call()
    full, worst = subject.full(call), 0.0
    for policy in POLICIES:
        with subject.attached(positions=policy) as pruned:
            with subject.listening() as heard:
                ids, _ = subject.generate(call)
            logits = subject.forward(call)
        assert pruned.receipt is not None
        for sample, slots in enumerate(pruned.receipt.slots):
            new = ids[sample, -STEPS:-1]
            more = _per_layer(full, heard[1:], sample, slots)
            hand = _by_hand(subject, call, full, sample, slots, new, policy, more)
            found = torch.cat([heard[0].gave[sample, -len(slots) :], *(one.gave[sample] for one in heard[1:])])
            worst = max(worst, agree(found, hand, f"{policy}: the pruned model and the one run by hand"))
            worst = max(worst, _logits_agree(subject, hand[: len(slots)], logits[sample], slots))
    return f"hidden states within {worst:.0e}, {' and '.join(POLICIES)}"


def equals_masked(subject: Subject) -> str:
    """The unmodified model with the dropped columns masked gives the same ids and logits."""
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
    call = subject.call()
    full = subject.full(call).given
    with subject.attached(positions="keep") as pruned, subject.listening() as heard:
        subject.generate(call, max_new_tokens=1)
    assert pruned.receipt is not None
    short, seen = heard[0].given, []
    for name, value in full.items():
        for sample, slots in enumerate(pruned.receipt.slots):
            left = _stream(name, value, full, sample, slots)
            if left is None:
                continue
            right = _stream(name, short[name], short, sample, None, count=len(slots))
            assert right is not None
            require(
                len(left) == len(right) and all(map(torch.equal, left, right)), f"{name} is cut like the ids", sample
            )
            seen.append(name)
    require("inputs_embeds" in seen, "the language model is handed embeddings", sorted(full))
    return ", ".join(dict.fromkeys(seen))


def _stream(
    name: str, value: Any, given: dict[str, Any], sample: int, slots: Tensor | None, count: int = 0
) -> list[Tensor] | None:
    """One prompt's part of a per-token argument at some columns, the last ``count`` by default; None: not per token."""
    batch, length = given["inputs_embeds"].shape[:2]
    columns = torch.arange(length - count, length) if slots is None else slots
    if name in ("deepstack_visual_embeds", "deepstack_features") and value is not None:
        visual = (given["vision_mask"] if isinstance(value, dict) else given["visual_pos_masks"]).view(batch, length)
        rows = visual.flatten().cumsum(0).view(batch, length)[sample, columns] - 1
        here = visual[sample, columns]
        return [layer[rows[here]] for layer in (value.values() if isinstance(value, dict) else value)]
    if not isinstance(value, Tensor) or name == "attention_mask":
        return None
    if name == "position_ids":
        value = value.expand(*value.shape[:-2], batch, -1)[..., sample, columns]
        return [value[1:] if value.ndim == 2 and len(value) == 4 else value]  # four: the first counts texts, not tokens
    return [value[sample, columns]] if value.shape[:2] == (batch, length) else None


def _per_layer(full: Heard, decoded: list[Heard], sample: int, slots: Tensor) -> dict[str, Tensor]:
    """[1, S, ...] what a language model is handed besides embeddings: of the columns that stay, and of decoded ids."""
    shape = full.given["inputs_embeds"].shape[:2]
    return {
        name: torch.cat([value[sample, slots], *(one.given[name][sample] for one in decoded)])[None]
        for name, value in full.given.items()
        if name != "inputs_embeds" and isinstance(value, Tensor) and value.ndim > 3 and value.shape[:2] == shape
    }


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
    positions = _positions(call, given["position_ids"], sample, slots, len(new), policy)
    visual = call["input_ids"][sample, slots] == getattr(model.config, subject.family.placeholder)
    visual = torch.cat([visual, torch.zeros(len(new), dtype=torch.bool)])
    more = {**more, **_deep(given, sample, slots, visual)}
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


def _deep(given: dict[str, Any], sample: int, slots: Tensor, visual: Tensor) -> dict[str, Any]:
    """The feature rows that enter at deeper layers, as a list of layers or by the number of the layer."""
    if given.get("deepstack_visual_embeds") is not None:
        layers = _stream("deepstack_visual_embeds", given["deepstack_visual_embeds"], given, sample, slots)
        return {"visual_pos_masks": visual[None], "deepstack_visual_embeds": layers}
    if given.get("deepstack_features") is not None:
        layers = _stream("deepstack_features", given["deepstack_features"], given, sample, slots)
        streams = dict(zip(given["deepstack_features"], layers or [], strict=True))
        return {"vision_mask": visual[None, :, None], "deepstack_features": streams}
    return {}


def _positions(call: dict[str, Any], positions: Tensor, sample: int, slots: Tensor, new: int, policy: str) -> Tensor:
    """[S] or [A, S] position ids of the columns that stay, and of what is decoded after them."""
    mine = positions.expand(*positions.shape[:-2], len(call["input_ids"]), -1)[..., sample, :]
    if policy == "renumber" and mine.ndim == 1:
        dropped = call["attention_mask"][sample].bool()
        dropped[slots] = False
        mine = mine - dropped.cumsum(0)
    made = torch.cat([mine[..., slots], mine[..., -1:] + 1 + torch.arange(new)], -1)
    return made[1:] if made.ndim == 2 and len(made) == 4 else made  # four: the first only says where texts begin


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
