"""Conversations: what a cache holds, and going on from it, is what the whole conversation gives at once."""

from copy import deepcopy

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE
from releases import modes
from transformers import StaticCache

import tokenprune

pytestmark = pytest.mark.parametrize("kind", ["llava", "vipllava"], indirect=True)  # a list of features, a tensor
COUNT = 4
OPTIONS = {"return_dict_in_generate": True, "output_logits": True}
MODES = {"plain": {}, "chunked prefill": {"prefill_chunk_size": 3, "disable_compile": True}}
BATCHES = [(1,), (0, 1, 2)]


@pytest.fixture(params=BATCHES, ids=str)
def images(request):
    return request.param


class Talk:
    """A conversation: all that was said so far, what is new of it, and the images of every turn."""

    def __init__(self, first):
        self.ids, self.mask = first["input_ids"], first["attention_mask"]
        self.pictures = [first["pixel_values"]] if "pixel_values" in first else []
        self.cache, self.new = None, first["input_ids"].shape[1]

    def heard(self, output):
        """What the model answered."""
        self.cache, answered = output.past_key_values, output.sequences[:, -COUNT:]
        self.ids, self.new = torch.cat([self.ids, answered], 1), 1  # the last token is not in the cache yet
        self.mask = torch.cat([self.mask, torch.ones_like(answered)], 1)

    def say(self, ids, mask=None, pixels=None):
        """[B, T] more ids, with or without images."""
        self.ids, self.new = torch.cat([self.ids, ids], 1), self.new + ids.shape[1]
        self.mask = torch.cat([self.mask, torch.ones_like(ids) if mask is None else mask], 1)
        self.pictures += [] if pixels is None else [pixels]

    def turn(self, pixels=None, new_only=False, mask=True):
        """Arguments of ``generate`` for the next turn."""
        ids = self.ids[:, -self.new :] if new_only else self.ids
        given = {"input_ids": ids, "past_key_values": self.cache, "max_new_tokens": COUNT, **OPTIONS}
        given |= {"attention_mask": self.mask} if mask else {}
        return given | ({} if pixels is None else {"pixel_values": pixels})

    def whole(self, pixels):
        """The conversation as one prompt; its images prompt by prompt, as placeholders come."""
        inputs = {"input_ids": self.ids, "attention_mask": self.mask}
        return inputs if pixels is None else {**inputs, "pixel_values": pixels}


def _text(batch, count, seed=50):
    return torch.tensor([tiny.text(count, seed + row) for row in range(batch)])


def _picture(model, batch, seed=60):
    """[B, T] ids of a turn with one image each, and the pixels."""
    start, end = _text(batch, 2, seed), _text(batch, 3, seed + 30)
    image = torch.full((batch, tiny.rows_an_image(model)), tiny.IMAGE)
    return torch.cat([start, image, end], 1), tiny.pixels(batch, seed)


def _same(output, talk, want):
    ids, logits = want.greedy(COUNT)
    assert torch.equal(output.sequences[:, -COUNT:], ids)
    torch.testing.assert_close(torch.stack(output.logits, 1)[:, :COUNT], logits, **CLOSE)


@pytest.mark.parametrize("new_only", [False, True], ids=["all ids", "new ids"])
@pytest.mark.parametrize("mode", modes(MODES))
def test_text_after_a_pruned_prompt(model, quarter, by_hand, images, new_only, mode):
    first = tiny.prompts(model, images)
    talk = Talk(first)
    with tokenprune.attach(model, quarter) as pruned:
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        receipt = pruned.receipt
        talk.say(_text(len(images), 3))
        out = model.generate(**talk.turn(new_only=new_only), **MODES[mode])
        assert pruned.receipt is receipt  # nothing was pruned in this turn
    given = talk.ids[:, -talk.new :] if new_only else talk.ids
    assert torch.equal(out.sequences[:, :-COUNT], given)
    _same(out, talk, by_hand(talk.whole(first["pixel_values"])))


def test_three_turns_with_padding_in_between(model, quarter, by_hand):
    first = tiny.prompts(model, (0, 1, 2))
    talk = Talk(first)
    with tokenprune.attach(model, quarter):
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        padded = tiny.padded([tiny.text(4, 1), tiny.text(2, 2), tiny.text(3, 3)], "left")
        talk.say(padded["input_ids"], padded["attention_mask"])
        second = model.generate(**talk.turn())
        _same(second, talk, by_hand(talk.whole(first["pixel_values"])))
        talk.heard(second)
        talk.say(_text(3, 2, seed=70))
        _same(model.generate(**talk.turn()), talk, by_hand(talk.whole(first["pixel_values"])))


@pytest.mark.parametrize("new_only", [False, True], ids=["all ids", "new ids"])
@pytest.mark.parametrize("mode", modes(MODES))
@pytest.mark.parametrize("start", [(0, 0), (1, 0)], ids=["text first", "image first"])
def test_an_image_in_the_second_turn(model, quarter, by_hand, start, new_only, mode):
    first = tiny.prompts(model, start)
    talk = Talk(first)
    ids, pixels = _picture(model, 2)
    with tokenprune.attach(model, quarter) as pruned:
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        talk.say(ids, pixels=pixels)
        out = model.generate(**talk.turn(pixels, new_only), **MODES[mode])
    everything = torch.cat([first["pixel_values"], pixels]) if start[0] else pixels
    hand = by_hand(talk.whole(everything))
    _same(out, talk, hand)
    assert pruned.receipt.length == talk.ids.shape[1]
    assert all(torch.equal(got, want) for got, want in zip(pruned.receipt.slots, hand.slots, strict=True))
    assert pruned.receipt.before == 2 * 36


def test_text_after_an_image_in_the_second_turn(model, quarter, by_hand):
    first = tiny.prompts(model, (1, 0))
    talk = Talk(first)
    ids, pixels = _picture(model, 2)
    with tokenprune.attach(model, quarter):
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        talk.say(ids, pixels=pixels)
        talk.heard(model.generate(**talk.turn(pixels)))
        talk.say(_text(2, 3))
        out = model.generate(**talk.turn())
    _same(out, talk, by_hand(talk.whole(torch.cat([first["pixel_values"], pixels]))))


def test_a_conversation_without_masks(model, quarter, by_hand):
    first = tiny.prompts(model, (1,))
    talk = Talk(first)
    bare = {name: value for name, value in first.items() if name != "attention_mask"}
    with tokenprune.attach(model, quarter):
        talk.heard(model.generate(**bare, max_new_tokens=COUNT, **OPTIONS))
        talk.say(_text(1, 3))
        out = model.generate(**talk.turn(mask=False))
    _same(out, talk, by_hand(talk.whole(first["pixel_values"])))


@pytest.mark.parametrize("again", [False, True], ids=["text", "image"])
def test_what_reads_earlier_tokens_reads_those_of_earlier_turns(model, quarter, again):
    """The whole conversation pruned at once says what the second turn has to give."""
    first = tiny.prompts(model, (0, 1))
    talk, options = Talk(first), {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2}
    with tokenprune.attach(model, quarter):
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        ids, pixels = _picture(model, 2)
        talk.say(ids if again else ids[:, :2], pixels=pixels if again else None)
        found = model.generate(**talk.turn(pixels if again else None), **options)
        whole = talk.whole(
            torch.cat([pixels[:1], first["pixel_values"], pixels[1:]]) if again else first["pixel_values"]
        )
        want = model.generate(**whole, max_new_tokens=COUNT, **options)
        plain = model.generate(**whole, max_new_tokens=COUNT)
    assert torch.equal(found.sequences, want)
    assert not torch.equal(plain, want)


@pytest.mark.parametrize("options", [{"prompt_lookup_num_tokens": 2}, {"assistant_model": tiny.language()}], ids=list)
@pytest.mark.parametrize("images", [False, True], ids=["text", "image"])
def test_assisted_decoding_does_not_go_on_from_a_cache(model, quarter, options, images):
    first = tiny.prompts(model, (1,))
    talk = Talk(first)
    ids, pixels = _picture(model, 1)
    with tokenprune.attach(model, quarter):
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        talk.say(ids if images else ids[:, :2])
        with pytest.raises(tokenprune.errors.UnsupportedMode, match="past_key_values"):
            model.generate(**talk.turn(pixels if images else None), **options)


def test_answers_of_an_assistant_can_be_gone_on_from(kind, model, quarter, by_hand):
    first = tiny.prompts(model, (1,))
    talk = Talk(first)
    with tokenprune.attach(model, quarter):
        options = {**OPTIONS, "assistant_model": tiny.MODELS[kind](seed=1)}
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **options))
        talk.say(_text(1, 3))
        out = model.generate(**talk.turn())
    _same(out, talk, by_hand(talk.whole(first["pixel_values"])))


def test_two_conversations_may_take_turns(model, quarter, by_hand):
    talks = []
    with tokenprune.attach(model, quarter):
        for seed in (1, 2):
            first = tiny.prompts(model, (1,) * seed, seed=seed)
            talks.append((Talk(first), first))
            talks[-1][0].heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        for talk, first in talks:
            talk.say(_text(len(talk.ids), 3))
            _same(model.generate(**talk.turn()), talk, by_hand(talk.whole(first["pixel_values"])))


def test_a_static_cache_is_used_again(model, quarter, by_hand):
    cache = StaticCache(config=model.config.get_text_config(), max_cache_len=128)
    first = tiny.prompts(model, (0, 1))
    talk = Talk(first)
    with tokenprune.attach(model, quarter):
        out = model.generate(**first, past_key_values=cache, max_new_tokens=COUNT, disable_compile=True, **OPTIONS)
        talk.heard(out)
        talk.say(_text(2, 3))
        out = model.generate(**talk.turn(), disable_compile=True)
        _same(out, talk, by_hand(talk.whole(first["pixel_values"])))
        cache.reset()  # an emptied cache remembers nothing
        out = model.generate(**first, past_key_values=cache, max_new_tokens=COUNT, disable_compile=True, **OPTIONS)
    _same(out, talk, by_hand(first))


@pytest.mark.parametrize("budget", [None, "100%"], ids=["text", "everything kept"])
def test_an_emptied_cache_forgets(model, budget):
    """What fills it next is longer than the pruned prompt was, and nothing of that is dropped."""
    cache = StaticCache(config=model.config.get_text_config(), max_cache_len=128)
    options = {**OPTIONS, "past_key_values": cache, "max_new_tokens": COUNT, "disable_compile": True}
    with tokenprune.attach(model, "fastervlm", budget="25%"):
        model.generate(**tiny.prompts(model, (1,)), **options)
        if budget is None:
            cache.reset()
            first = {"input_ids": _text(1, 40)}
            want = model.generate(**first, max_new_tokens=COUNT, **OPTIONS)
            found = model.generate(**first, **options)
    if budget is not None:
        with tokenprune.attach(model, "fastervlm", budget=budget):
            cache.reset()
            first = tiny.prompts(model, (1,), seed=4)
            want = model.generate(**first, max_new_tokens=COUNT, **OPTIONS)
            found = model.generate(**first, **options)
    assert torch.equal(found.sequences, want.sequences)
    ids = torch.cat([found.sequences, _text(1, 3)], 1)
    with tokenprune.attach(model, "fastervlm", budget="25%"):
        out = model.generate(ids, **options)
    again = model.generate(ids, past_key_values=want.past_key_values, max_new_tokens=COUNT)
    assert torch.equal(out.sequences, again)


def test_a_cache_cut_back_to_before_the_image_remembers_nothing(model, quarter, by_hand):
    first = tiny.prompts(model, (1,))
    other = tiny.prompts(model, (1,), seed=5)
    with tokenprune.attach(model, quarter), torch.no_grad():
        cache = model.generate(**first, max_new_tokens=COUNT, **OPTIONS).past_key_values
        cache.crop(1 - cache.get_seq_length())  # the first token is the same in all prompts
        out = model.generate(**other, past_key_values=cache, max_new_tokens=COUNT, **OPTIONS)
    _same(out, None, by_hand(other))


def test_a_cache_cut_inside_the_pruned_prompt_is_refused(model, quarter):
    first = tiny.prompts(model, (1,))
    with tokenprune.attach(model, quarter), torch.no_grad():
        cache = model.generate(**first, max_new_tokens=COUNT, **OPTIONS).past_key_values
        cache.crop(-COUNT - 3)
        with pytest.raises(tokenprune.errors.UnsupportedMode, match="inside a pruned prompt"):
            model.generate(**first, past_key_values=cache, max_new_tokens=COUNT)
        with pytest.raises(tokenprune.errors.UnsupportedMode, match="inside a pruned prompt"):
            model(input_ids=first["input_ids"][:, :1], past_key_values=cache)


@pytest.mark.parametrize("new_only", [False, True], ids=["all ids", "new ids"])
def test_every_one_of_several_answers_can_be_gone_on_from(model, quarter, by_hand, new_only):
    first = tiny.prompts(model, (0, 2))
    twice = {name: value.repeat_interleave(2, 0) for name, value in first.items() if name != "pixel_values"}
    talk = Talk(twice)
    with tokenprune.attach(model, quarter):
        options = {**OPTIONS, "do_sample": True, "num_return_sequences": 2}
        torch.manual_seed(0)
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **options))
        talk.say(_text(4, 3))
        out = model.generate(**talk.turn(new_only=new_only))
        with pytest.raises(tokenprune.errors.UnsupportedMode, match="4 pruned prompts"):
            model.generate(input_ids=talk.ids[:3], past_key_values=talk.cache, max_new_tokens=1)
    _same(out, talk, by_hand(talk.whole(first["pixel_values"].repeat(2, 1, 1, 1))))


def test_a_batch_whose_longest_prompt_has_no_image_goes_on(model, quarter, by_hand):
    """It gets no shorter, and still its columns move."""
    image = [tiny.IMAGE] * tiny.rows_an_image(model)
    first = tiny.padded([tiny.text(60, 1), [tiny.BOS, *image, *tiny.text(5, 2)]], "left")
    first["pixel_values"] = tiny.pixels(1)
    talk = Talk(first)
    with tokenprune.attach(model, quarter), torch.no_grad():
        logits = model(**first).logits
        for row, slots in enumerate(by_hand(first, "forward").slots):
            torch.testing.assert_close(logits[row, slots], by_hand(first, "forward").logits(row), **CLOSE)
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        talk.say(_text(2, 3))
        _same(model.generate(**talk.turn()), talk, by_hand(talk.whole(first["pixel_values"])))


@pytest.mark.parametrize("explicit", [False, True], ids=["own positions", "given positions"])
@pytest.mark.parametrize("start", [(0, 0), (1, 0)], ids=["text first", "image first"])
def test_forward_takes_an_image_in_the_second_turn(model, quarter, by_hand, start, explicit):
    first = tiny.prompts(model, start)
    talk = Talk(first)
    ids, pixels = _picture(model, 2)
    talk.say(ids, pixels=pixels)
    numbers = torch.arange(talk.ids.shape[1]).expand(2, -1)
    step = [{}, {}]
    if explicit:
        step = [{"position_ids": numbers[:, : -ids.shape[1]]}, {"position_ids": numbers[:, -ids.shape[1] :]}]
    with tokenprune.attach(model, quarter) as pruned, torch.no_grad():
        cache = model(**first, use_cache=True, **step[0]).past_key_values
        out = model(
            input_ids=ids, attention_mask=talk.mask, pixel_values=pixels, past_key_values=cache, labels=ids, **step[1]
        )
    everything = torch.cat([first["pixel_values"], pixels]) if start[0] else pixels
    hand = by_hand(talk.whole(everything), "forward")
    for row, kept in enumerate(hand.kept[:, -ids.shape[1] :]):
        torch.testing.assert_close(out.logits[row, kept], hand.logits(row)[-int(kept.sum()) :], **CLOSE)
        assert out.logits[row, ~kept].isnan().all()
    assert all(torch.equal(got, want) for got, want in zip(pruned.receipt.slots, hand.slots, strict=True))


def test_positions_of_the_callers_count_the_full_conversation(model, quarter, by_hand):
    """In ``generate`` and in ``forward``, after two turns of which each lost tokens."""
    first = tiny.prompts(model, (1, 0))
    talk = Talk(first)
    ids, pixels = _picture(model, 2)
    with tokenprune.attach(model, quarter), torch.no_grad():
        talk.heard(model.generate(**first, max_new_tokens=COUNT, **OPTIONS))
        talk.say(ids, pixels=pixels)
        numbers = (talk.mask.cumsum(-1) - 1).clamp(min=0)
        talk.heard(model.generate(**talk.turn(pixels), position_ids=numbers))
        talk.say(_text(2, 3))
        numbers = (talk.mask.cumsum(-1) - 1).clamp(min=0)
        tail = {"attention_mask": talk.mask, "past_key_values": deepcopy(talk.cache)}
        logits = model(talk.ids[:, -talk.new :], position_ids=numbers[:, -talk.new :], **tail).logits[:, -1]
        out = model.generate(**talk.turn(), position_ids=numbers)
    hand = by_hand(talk.whole(torch.cat([first["pixel_values"], pixels])))
    _same(out, talk, hand)
    torch.testing.assert_close(logits, hand.greedy(1)[1][:, 0], **CLOSE)
