"""What a caller hands to ``generate`` sees the prompt that the caller gave; lengths count it."""

import pytest
import torch
from attach import tiny
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

import tokenprune

pytestmark = pytest.mark.parametrize("kind", ["llava", "vipllava"], indirect=True)
COUNT = 4


class Watch(LogitsProcessor):
    """Notes the ids that it is called with, and forbids a token."""

    def __init__(self, forbidden=None):
        self.seen, self.forbidden = [], forbidden

    def __call__(self, input_ids, scores):
        self.seen.append(input_ids.clone())
        return scores if self.forbidden is None else scores.index_fill(1, torch.tensor([self.forbidden]), -torch.inf)


class Stop(StoppingCriteria):
    """Stops a sequence at a length."""

    def __init__(self, length):
        self.seen, self.length = [], length

    def __call__(self, input_ids, scores, **rest):
        self.seen.append(input_ids.clone())
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length)


class Stream(BaseStreamer):
    """Collects what it is given."""

    def __init__(self):
        self.pieces, self.ended = [], 0

    def put(self, value):
        self.pieces.append(value.clone())

    def end(self):
        self.ended += 1


@pytest.fixture
def inputs(model):
    return tiny.prompts(model, (0, 1, 2))


@pytest.fixture
def length(inputs):
    return inputs["input_ids"].shape[1]


@pytest.fixture
def answer(model, quarter, inputs):
    """[B, L + COUNT] what comes without any callback."""
    with tokenprune.attach(model, quarter):
        return model.generate(**inputs, max_new_tokens=COUNT)


def _prefixes(whole, length):
    return [whole[:, : length + step] for step in range(COUNT)]


def _equal(seen, want):
    return len(seen) == len(want) and all(torch.equal(one, other) for one, other in zip(seen, want, strict=True))


def test_processors_see_the_given_prompt(model, quarter, inputs, answer, length):
    watch = Watch()
    with tokenprune.attach(model, quarter):
        assert torch.equal(model.generate(**inputs, max_new_tokens=COUNT, logits_processor=[watch]), answer)
    assert _equal(watch.seen, _prefixes(answer, length))


def test_processors_act(model, quarter, inputs, answer, length):
    forbidden = int(answer[0, length])
    processors = LogitsProcessorList([Watch(forbidden)])
    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, max_new_tokens=COUNT, logits_processor=processors)
    assert not (out[:, length:] == forbidden).any()
    assert type(processors[0]) is Watch  # the caller's list holds what it held


def test_processors_see_the_prompt_of_each_beam(model, quarter, inputs, length):
    watch = Watch()
    with tokenprune.attach(model, quarter):
        model.generate(**inputs, max_new_tokens=COUNT, num_beams=3, logits_processor=[watch])
    assert all(torch.equal(ids[:, :length], inputs["input_ids"].repeat_interleave(3, 0)) for ids in watch.seen)


@pytest.mark.parametrize("wrap", [lambda one: [one], lambda one: one, lambda one: StoppingCriteriaList([one])])
def test_stopping_criteria_see_the_given_prompt(model, quarter, inputs, answer, length, wrap):
    stop = Stop(length + 2)
    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, max_new_tokens=COUNT, stopping_criteria=wrap(stop))
    assert torch.equal(out, answer[:, : length + 2])
    assert _equal(stop.seen, [answer[:, : length + 1], answer[:, : length + 2]])


def test_allowed_tokens_are_asked_for_with_the_given_prompt(model, quarter, inputs, length):
    seen = []

    def allowed(number, ids):
        seen.append((number, ids.clone()))
        return [5 + number, 9]

    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, max_new_tokens=2, num_beams=2, prefix_allowed_tokens_fn=allowed)
    assert {number for number, _ in seen} == {0, 1, 2}
    assert all(torch.equal(ids[:length], inputs["input_ids"][number]) for number, ids in seen)
    assert all(set(row[length:].tolist()) <= {5 + number, 9} for number, row in enumerate(out))


def test_a_streamer_gets_the_given_prompt_first(model, quarter):
    inputs, stream = tiny.prompts(model, (1,)), Stream()
    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, max_new_tokens=COUNT, streamer=stream)
    assert torch.equal(stream.pieces[0], inputs["input_ids"])
    assert torch.equal(torch.cat(stream.pieces[1:]), out[0, -COUNT:])
    assert stream.ended == 1


def test_callbacks_see_the_conversation_in_later_turns(model, quarter, inputs, answer, length):
    watch = Watch()
    with tokenprune.attach(model, quarter):
        first = model.generate(**inputs, max_new_tokens=COUNT, return_dict_in_generate=True)
        ids = torch.cat([first.sequences, torch.tensor([[5, 6]] * 3)], 1)
        mask = torch.cat([inputs["attention_mask"], torch.ones(3, COUNT + 2, dtype=torch.int64)], 1)
        rest = {"attention_mask": mask, "past_key_values": first.past_key_values, "logits_processor": [watch]}
        out = model.generate(ids, max_new_tokens=COUNT, **rest)
    assert _equal(watch.seen, _prefixes(out, ids.shape[1]))


CONFIG = {"do_sample": False, "pad_token_id": tiny.PAD}


@pytest.mark.parametrize("way", ["argument", "configuration", "argument over configuration", "model's configuration"])
def test_the_greatest_length_counts_the_given_prompt(model, quarter, inputs, answer, length, way):
    most, options = length + 3, {}
    if way.startswith("argument"):
        options["max_length"] = most
    if way.endswith("over configuration"):
        options["generation_config"] = GenerationConfig(max_length=most + 5, **CONFIG)
    if way == "configuration":
        options["generation_config"] = GenerationConfig(max_length=most, **CONFIG)
    if way == "model's configuration":
        model.generation_config.max_length = most
    before = model.generation_config.to_dict()
    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, **options)
    assert torch.equal(out, answer[:, :most])
    assert model.generation_config.to_dict() == before
    if way == "configuration":
        assert options["generation_config"].max_length == most


@pytest.mark.parametrize("way", ["argument", "configuration", "model's configuration"])
def test_the_least_length_counts_the_given_prompt(model, quarter, inputs, answer, length, way):
    """Without it, the first token ends the answer."""
    ends, options = [int(token) for token in answer[:, length]], {}
    settings = {"min_length": length + 3, "eos_token_id": ends}
    if way == "argument":
        options = settings
    elif way == "configuration":
        options["generation_config"] = GenerationConfig(max_new_tokens=COUNT, **settings, **CONFIG)
    else:
        model.generation_config.min_length, model.generation_config.eos_token_id = length + 3, ends
    options |= {} if way == "configuration" else {"max_new_tokens": COUNT}
    with tokenprune.attach(model, quarter):
        out = model.generate(**inputs, **options)
    assert not torch.isin(out[:, length : length + 3], torch.tensor(ends)).any()
    loose = {"max_new_tokens": COUNT, "eos_token_id": ends}
    model.generation_config.min_length = None
    with tokenprune.attach(model, quarter):
        assert model.generate(**inputs, **loose).shape[1] == length + 1


def test_new_tokens_win_over_the_greatest_length(model, quarter, inputs, answer, length):
    with tokenprune.attach(model, quarter):
        assert torch.equal(model.generate(**inputs, max_new_tokens=COUNT, max_length=length - 5), answer)


def test_without_a_length_there_are_twenty_tokens(model, quarter, inputs, length):
    with tokenprune.attach(model, quarter), pytest.warns(UserWarning, match="model-agnostic default"):
        assert model.generate(**inputs).shape[1] == length + 20


def test_a_prompt_that_is_too_long_already_is_an_error_as_ever(model, quarter, inputs, length):
    with pytest.raises(ValueError, match="max_length"):
        model.generate(**inputs, max_length=length - 1)
    with tokenprune.attach(model, quarter), pytest.raises(ValueError, match="max_length"):
        model.generate(**inputs, max_length=length - 1)
