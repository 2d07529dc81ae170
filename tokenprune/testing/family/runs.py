"""Checks of whole runs: the same answer whichever way the model is asked."""

from __future__ import annotations

from typing import Any

import torch

from tokenprune.receipt import Receipt
from tokenprune.testing.family.crossed import images_got
from tokenprune.testing.family.report import NotApplicable
from tokenprune.testing.family.subject import STEPS, TOLERANCE, Subject, agree, most
from tokenprune.testing.search import require


def whole_budget_changes_nothing(subject: Subject) -> str:
    """At a budget of 100 % ``forward`` and ``generate`` give the same bits."""
    for prompts in ((subject.prompts[0],), subject.prompts):
        call = subject.call(*prompts)
        there = call["attention_mask"].bool()
        logits, (ids, steps) = subject.forward(call), subject.generate(call)
        with subject.attached("100%"):
            again, (ids_again, steps_again) = subject.forward(call), subject.generate(call)
        require(torch.equal(again[there], logits[there]), "forward at 100 % gives the same bits")
        require(
            torch.equal(ids_again, ids) and torch.equal(steps_again, steps), "generate at 100 % gives the same bits"
        )
    return "bit-identical in forward and generate"


def uncached_is_cached(subject: Subject) -> str:
    """A run without cache gives the same."""
    call = subject.call()
    try:
        own = most(subject.generate(call, use_cache=False)[1], subject.generate(call)[1])
    except Exception as problem:
        raise NotApplicable(f"unmodified it raises {type(problem).__name__} without cache") from problem
    with subject.attached():
        without, cached = subject.generate(call, use_cache=False), subject.generate(call)
    return _compared(own, without[1], cached[1], "without cache and with it")


def static_is_dynamic(subject: Subject) -> str:
    """A static cache gives the same."""
    call, static = subject.call(), {"cache_implementation": "static"}
    try:
        own = most(subject.generate(call, **static)[1], subject.generate(call)[1])
    except Exception as problem:
        raise NotApplicable(f"unmodified it raises {type(problem).__name__} with a static cache") from problem
    with subject.attached():
        fixed, growing = subject.generate(call, **static), subject.generate(call)
    return _compared(own, fixed[1], growing[1], "a static and a dynamic cache")


def batch_is_each_alone(subject: Subject) -> str:
    """A batch of prompts of different length with different images gives what each gives alone."""
    call, alone = subject.call(), [subject.call(one) for one in subject.prompts]
    own = subject.in_company()
    with subject.attached():
        together = subject.generate(call)[1]
        each = torch.cat([subject.generate(one)[1] for one in alone])
    return _compared(own, together, each, "together and alone")


def beams_are_each_alone(subject: Subject) -> str:
    """Beam search of a batch gives the beams of each prompt alone."""
    call, alone = subject.call(), [subject.call(one) for one in subject.prompts]
    wish = {"num_beams": 3, "output_scores": True}

    def search() -> bool:
        length = call["input_ids"].shape[1]
        together = subject.generate(call, **wish)[0][:, length:]
        each = [subject.generate(one, **wish)[0][:, one["input_ids"].shape[1] :] for one in alone]
        return torch.equal(together, torch.cat(each))

    try:
        same = search()
    except Exception as problem:
        raise NotApplicable(f"unmodified it raises {type(problem).__name__} in beam search: {problem}") from problem
    if not same or subject.in_company() > TOLERANCE:
        raise NotApplicable("unmodified its beams change with the batch")
    with subject.attached():
        require(search(), "the beams of a batch are those of each prompt alone")
    return "equal ids"


def loop_is_generate(subject: Subject) -> str:
    """Hand-written loops give what ``generate`` does: a batch with the mask of whole prompts, and one without mask."""
    said, reason = [], NotApplicable("unmodified it raises in a hand-written loop")
    for what, call, masked in (("a batch", subject.call(), True), ("one", subject.call(subject.prompts[0]), False)):
        try:
            own = most(_loop(subject, call, masked), subject.generate(call)[1])
        except Exception:  # the unmodified model cannot be asked like this
            continue
        with subject.attached():
            by_hand, generated = _loop(subject, call, masked), subject.generate(call)[1]
        try:
            said.append(f"{what}: {_compared(own, by_hand, generated, 'a hand-written loop and generate')}")
        except NotApplicable as differs:
            reason = differs
    if not said:
        raise reason
    return ", ".join(said)


def _loop(subject: Subject, call: dict[str, Any], masked: bool) -> torch.Tensor:
    """[B, STEPS, V] logits of greedy decoding by one ``forward`` after the other."""
    mask, steps = call["attention_mask"], []
    with torch.no_grad():
        output = subject.model(**call, use_cache=True)
        for _ in range(STEPS):
            steps.append(output.logits[:, -1])
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            new = {"input_ids": steps[-1].argmax(-1)[:, None], **({"attention_mask": mask} if masked else {})}
            if subject.family.cross is not None:  # what is new sees what the last slot saw
                new[subject.family.cross.mask] = call[subject.family.cross.mask][:, -1:]
            output = subject.model(**new, past_key_values=output.past_key_values, use_cache=True)
    return torch.stack(steps, 1)


def detaches(subject: Subject) -> str:
    """After detaching the model is as it was, bits and attributes."""
    call = subject.call()
    before, state, logits = _hooks(subject), set(vars(subject.model)), subject.generate(call)[1]
    with subject.attached():
        subject.generate(call)
        subject.forward(call)
    require(set(vars(subject.model)) == state, "no attribute is left on the model")
    require(_hooks(subject) == before, "no hook is left on a module")
    require(torch.equal(subject.generate(call)[1], logits), "the model gives the same bits again")
    return "bits, attributes and hooks"


def receipt_is_true(subject: Subject) -> str:
    """The receipt counts what the language model got: every text column, and the budget of each image, exactly."""
    call, crossed = subject.call(), subject.family.cross is not None
    visual = subject.visual(call["input_ids"]) & (not crossed)
    with subject.attached() as pruned, subject.listening() as heard:
        subject.generate(call)
    receipt = pruned.receipt
    assert receipt is not None
    for sample, slots in enumerate(receipt.slots):
        text = (call["attention_mask"][sample].bool() & ~visual[sample]).nonzero()[:, 0]
        require(set(text.tolist()) <= set(slots.tolist()), "every text column stays", sample)
        kept, images = int(visual[sample, slots].sum()), [one for one in receipt.images if one.sample == sample]
        separators = int(visual[sample].sum()) - sum(image.before for image in images)
        require(
            crossed or kept == separators + sum(image.after for image in images), "slots hold what images say", sample
        )
    count = len(receipt.images)
    require(count == (subject.images or count), f"the receipt has {subject.images} images", count)
    for image in receipt.images:
        asked = pruned.pipeline.kept.resolve(image.before)
        require(image.after == len(image.kept) == asked, f"one of {image.before} tokens keeps {asked}", image.after)
        require(sum(image.rows) == asked, f"its rows keep {asked} together", image.rows)
        full = image.kind != "video" or not subject.shown.marked or asked < len(image.rows) or min(image.rows) > 0
        require(full, "no frame with markers of its own is empty", image.rows)
    kinds = {one.kind for one in receipt.images}
    require(kinds == set(subject.brought(call)), "the receipt has what the prompts bring", kinds)
    got, said = images_got(subject, heard[0].given, receipt) if crossed else slots_got(heard[0].gave, receipt)
    require(got == said, "the language model gets as many columns as the receipt says", got)
    what = " and ".join(f"{one}s" for one in sorted(kinds))
    return f"{receipt.after} of {receipt.before} tokens of {count} {what}, {receipt.separators} separators"


def slots_got(gave: torch.Tensor, receipt: Receipt) -> tuple[int, int]:
    """Columns of the prompts that the language model got, and that the receipt says."""
    return gave.shape[1], max(map(len, receipt.slots))


def _compared(own: float, left: torch.Tensor, right: torch.Tensor, what: str) -> str:
    """Two ways of asking the pruned model must agree, if the unmodified one does."""
    difference = most(left, right)
    if own > TOLERANCE and difference > TOLERANCE:
        raise NotApplicable(f"unmodified it differs by {own:.1e} between {what}")
    return f"logits within {agree(left, right, what):.0e}"


def _hooks(subject: Subject) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in subject.model.modules())
