"""Calls of the model itself: where its logits come back, loss, gradients and hand-written decode loops."""

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE, Hand, see, staying

import tokenprune

COUNT = 5


@pytest.fixture(params=[((1,), "left"), ((0, 1, 2), "left"), ((2, 0, 1), "right")], ids=lambda b: f"{b[0]} {b[1]}")
def inputs(request, model):
    return tiny.prompts(model, *request.param)


def _columns(slots, length):
    """[B, L] bool: the columns that a receipt names."""
    found = torch.zeros(len(slots), length, dtype=torch.bool)
    for row, kept in zip(found, slots, strict=True):
        row[kept] = True
    return found


def test_logits_are_as_wide_as_the_prompt_and_nan_exactly_where_a_column_is_gone(model, quarter, inputs):
    with tokenprune.attach(model, quarter) as pruned, torch.no_grad():
        logits = model(**inputs).logits
    assert logits.shape == (*inputs["input_ids"].shape, tiny.VOCABULARY)
    kept = _columns(pruned.receipt.slots, logits.shape[1])
    assert torch.equal(logits.isnan().all(-1), ~kept)
    assert torch.equal(logits.isnan().any(-1), ~kept)


@pytest.mark.parametrize(
    "keep",
    [1, 7, 45, torch.tensor([0, 5, 40]), torch.tensor([45, 3, -1, 3]), torch.tensor([[2, 44]]), torch.tensor([10])],
    ids=str,
)
@pytest.mark.parametrize("images", [(1,), (2, 0, 1)], ids=str)
@pytest.mark.parametrize("positions", ["keep"], indirect=True)
@pytest.mark.parametrize("kind", ["llava", "llava_full"], indirect=True)
def test_logits_that_are_asked_for_are_those_of_all(model, quarter, keep, images):
    inputs = tiny.prompts(model, images)
    if isinstance(keep, torch.Tensor) and keep.ndim == 2:
        keep = keep + torch.arange(len(images))[:, None]
    with tokenprune.attach(model, quarter), torch.no_grad():
        every = model(**inputs).logits
        some = model(**inputs, logits_to_keep=keep).logits
    if isinstance(keep, int):
        want = every[:, -keep:]
    else:
        want = every[:, keep] if keep.ndim == 1 else every.take_along_dim(keep[..., None], 1)
    torch.testing.assert_close(some, want, equal_nan=True, **CLOSE)


def test_columns_that_are_all_gone_give_nothing_but_nan(model, quarter):
    inputs = tiny.prompts(model, (1,))
    with tokenprune.attach(model, quarter) as pruned, torch.no_grad():
        model(**inputs)
        gone = (~_columns(pruned.receipt.slots, inputs["input_ids"].shape[1]))[0].nonzero()[:3, 0]
        logits = model(**inputs, logits_to_keep=gone).logits
    assert logits.shape == (1, 3, tiny.VOCABULARY)
    assert logits.isnan().all()


def test_a_mask_of_wanted_logits_is_refused(model, quarter):
    inputs = tiny.prompts(model, (1,))
    with (
        tokenprune.attach(model, quarter),
        pytest.raises(tokenprune.errors.UnsupportedMode, match="logits_to_keep"),
    ):
        model(**inputs, logits_to_keep=inputs["attention_mask"].bool())


def test_a_tuple_holds_what_the_output_holds(model, quarter, inputs):
    with torch.no_grad():
        plain = model(**inputs, return_dict=False)
        with tokenprune.attach(model, quarter):
            parts = model(**inputs, return_dict=False)
            whole = model(**inputs)
    assert isinstance(parts, tuple)
    assert [type(part) for part in parts] == [type(part) for part in plain]
    torch.testing.assert_close(parts[0], whole.logits, equal_nan=True)


def test_positional_arguments(model, quarter):
    inputs = tiny.prompts(model, (0, 1))
    with tokenprune.attach(model, quarter), torch.no_grad():
        named = model(**inputs).logits
        placed = model(inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"]).logits
    torch.testing.assert_close(named, placed, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32], ids=str)
def test_masks_of_any_type(model, quarter, dtype):
    inputs = tiny.prompts(model, (2, 0))
    with tokenprune.attach(model, quarter), torch.no_grad():
        plain = model(**inputs).logits
        other = model(**{**inputs, "attention_mask": inputs["attention_mask"].to(dtype)}).logits
    torch.testing.assert_close(plain, other, equal_nan=True)


def test_placeholders_that_are_masked_out_are_as_good_as_dropped(model, twin):
    """Nobody attends to the first image, kept or not: what the others see is what the full model sees."""
    inputs = tiny.prompts(model, (0, 2))
    image = (inputs["input_ids"] == tiny.IMAGE) & ((inputs["input_ids"] == tiny.IMAGE).cumsum(-1) <= 36)
    inputs["attention_mask"] = inputs["attention_mask"].masked_fill(image, 0)
    pipeline = tokenprune.load("fastervlm", budget="25%", positions="keep")
    stays = staying(see(twin, inputs["pixel_values"]), pipeline)
    kept = inputs["attention_mask"].bool()
    kept[inputs["input_ids"] == tiny.IMAGE] &= stays.flatten()
    numbers = torch.arange(kept.shape[1])[None]
    with tokenprune.attach(model, pipeline) as pruned, torch.no_grad():
        logits = model(**inputs).logits
        full = twin(**{**inputs, "attention_mask": kept.long(), "position_ids": numbers}).logits
    assert torch.equal(_columns(pruned.receipt.slots, kept.shape[1]), kept)
    torch.testing.assert_close(logits[kept], full[kept], **CLOSE)


def _labels(inputs):
    """Every token is to be predicted but padding, placeholders and the first."""
    ids = inputs["input_ids"]
    return ids.masked_fill((ids == tiny.IMAGE) | (ids == tiny.BOS) | (inputs["attention_mask"] == 0), -100)


def test_the_loss_is_that_of_the_short_sequence(model, quarter, by_hand, inputs):
    labels = _labels(inputs)
    with tokenprune.attach(model, quarter), torch.no_grad():
        loss = model(**inputs, labels=labels).loss
        torch.testing.assert_close(loss, by_hand(inputs, "forward").loss(labels), **CLOSE)


def test_gradients_flow_through_the_tokens_that_stay(kind, model, quarter, positions):
    twin = tiny.MODELS[kind]()  # whose gradients nobody else needs
    inputs = tiny.prompts(model, (1, 2))
    labels = _labels(inputs)
    seen = []
    hook = model.model.multi_modal_projector.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    with tokenprune.attach(model, quarter) as pruned:
        loss = model(**inputs, labels=labels).loss
    hook.remove()
    seen[0].retain_grad()
    loss.backward()
    moved = seen[0].grad.abs().sum(-1)[:, -36:] > 0  # [I, N]
    assert [row.nonzero()[:, 0].tolist() for row in moved] == [image.kept.tolist() for image in pruned.receipt.images]
    Hand(twin, inputs, staying(see(twin, inputs["pixel_values"]), quarter), positions, "forward").loss(
        labels
    ).backward()
    for (name, mine), (_, theirs) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, **CLOSE, msg=name)


def _loop(model, inputs, explicit):
    """Greedy decoding as a user writes it: the mask grows with the full prompt, and so do the positions."""
    mask, tokens, steps = inputs["attention_mask"], [], []
    rest, step = {}, dict(inputs)
    if explicit:
        step["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    for _ in range(COUNT):
        out = model(**step, **rest, use_cache=True)
        steps.append(out.logits[:, -1])
        tokens.append(steps[-1].argmax(-1))
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        rest = {"past_key_values": out.past_key_values, "attention_mask": mask}
        step = {"input_ids": tokens[-1][:, None]}
        if explicit:
            step["position_ids"] = mask.sum(-1, keepdim=True) - 1
    return torch.stack(tokens, 1), torch.stack(steps, 1)


@pytest.mark.parametrize("explicit", [False, True], ids=["own positions", "given positions"])
@pytest.mark.parametrize("images", [(1,), (0, 1, 2)], ids=str)
def test_a_hand_written_loop_decodes_as_generate(model, quarter, by_hand, images, explicit):
    inputs = tiny.prompts(model, images)
    with tokenprune.attach(model, quarter), torch.no_grad():
        ids, logits = _loop(model, inputs, explicit)
        whole = model.generate(**inputs, max_new_tokens=COUNT)
    assert torch.equal(whole[:, inputs["input_ids"].shape[1] :], ids)
    want = by_hand(inputs, "generate" if explicit else "forward").greedy(COUNT)
    assert torch.equal(ids, want[0])
    torch.testing.assert_close(logits, want[1], **CLOSE)


def test_a_loop_without_a_mask(model, quarter, by_hand):
    inputs = tiny.prompts(model, (1,))
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    with tokenprune.attach(model, quarter), torch.no_grad():
        out = model(**bare, use_cache=True)
        first = out.logits[:, -1].argmax(-1)
        then = model(input_ids=first[:, None], past_key_values=out.past_key_values).logits[:, -1]
    ids, logits = by_hand(inputs, "forward").greedy(2)
    assert torch.equal(first, ids[:, 0])
    torch.testing.assert_close(then, logits[:, 1], **CLOSE)


def test_a_loop_over_embeddings(model, quarter, by_hand):
    """What follows a pruned prompt may come embedded."""
    inputs = tiny.prompts(model, (0, 1))
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1, dtype=torch.int64)], 1)
    with tokenprune.attach(model, quarter), torch.no_grad():
        out = model(**inputs, use_cache=True)
        embedded = model.get_input_embeddings()(out.logits[:, -1:].argmax(-1))
        then = model(inputs_embeds=embedded, attention_mask=mask, past_key_values=out.past_key_values).logits[:, -1]
    torch.testing.assert_close(then, by_hand(inputs, "forward").greedy(2)[1][:, 1], **CLOSE)


def test_right_padded_prompts_decode_from_the_next_column(model, twin):
    """The full model with the dropped columns masked out says what that means."""
    inputs = tiny.prompts(model, (2, 0, 1), "right")
    pipeline = tokenprune.load("fastervlm", budget="25%", positions="keep")
    hand = Hand(twin, inputs, staying(see(twin, inputs["pixel_values"]), pipeline), "keep")
    more = torch.tensor([[5, 6], [7, 8], [9, 10]])
    found = []
    with tokenprune.attach(model, pipeline), torch.no_grad():
        for one, mask in ((model, inputs["attention_mask"]), (twin, hand.kept.long())):
            out = one(**{**inputs, "attention_mask": mask}, use_cache=True)
            mask = torch.cat([mask, torch.ones_like(more)], 1)
            found.append(one(input_ids=more, attention_mask=mask, past_key_values=out.past_key_values).logits)
    torch.testing.assert_close(*found, **CLOSE)


def test_generate_does_not_go_on_from_a_pruned_prompt_with_embeddings(model, quarter):
    inputs = tiny.prompts(model, (1,))
    with tokenprune.attach(model, quarter):
        cache = model.generate(**inputs, max_new_tokens=1, return_dict_in_generate=True).past_key_values
        embedded = model.get_input_embeddings()(inputs["input_ids"])
        with pytest.raises(tokenprune.errors.UnsupportedMode, match="input_ids alone"):
            model.generate(inputs_embeds=embedded, past_key_values=cache, max_new_tokens=1)
