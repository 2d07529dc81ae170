"""What stages inside the language model leave is what the layers give by hand on the columns that are left."""

from typing import Literal

import pytest
import torch
from attach import tiny
from attach.parity.oracle import CLOSE
from in_llm.hand import Layers
from torch.nn.functional import cross_entropy

import tokenprune
from tokenprune import Scorer

COUNT = 4
LOGITS = {"output_logits": True, "return_dict_in_generate": True}


class LastRow(Scorer):
    """What the last token of the prompt looks at, heads alike."""

    layer: Literal["previous", "this"] = "previous"

    @property
    def reads(self):
        return frozenset({f"last_attention@{self.layer}"})

    def score(self, tokens):
        (name,) = self.reads
        return tokens.cue(name).mean(1)


def pipeline(stages, rule="first", positions="keep"):
    """The same as `Layers`, as a pipeline."""
    scorer = {} if rule == "first" else {"scorer": LastRow(layer=rule)}
    listed = [{"site": {"llm_layer": at}, "budget": f"{100 * share}%", **scorer} for at, share in stages.items()]
    return {"name": "mine", "stages": listed, "positions": positions}


STAGES = [{2: 0.25}, {1: 0.5, 3: 0.125}]
RULES = ["first", "previous", "this"]
POSITIONS = ["keep", "renumber"]


@pytest.fixture(params=["left", "right"])
def inputs(request, model):
    return tiny.prompts(model, (1, 0, 2), padding=request.param)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("stages", STAGES, ids=str)
def test_forward(model, twin, inputs, stages, rule, positions):
    with tokenprune.attach(model, pipeline(stages, rule, positions)) as pruned:
        out = model(**inputs)
    for row, logits in enumerate(out.logits):
        hand = Layers(twin, inputs, row, stages, rule, positions, numbering="forward")
        torch.testing.assert_close(logits[hand.slots], hand.logits, **CLOSE)
        dropped = torch.ones(len(logits), dtype=torch.bool)
        dropped[hand.slots] = False
        assert logits[dropped].isnan().all()
    longest = [max(lengths) for lengths in zip(*_lengths(twin, inputs, stages), strict=True)]
    longest[: min(stages)] = [inputs["input_ids"].shape[1]] * min(stages)
    assert [layer.keys.shape[2] for layer in out.past_key_values.layers] == longest
    assert [one.layer for one in pruned.receipt.layers] == list(stages)


def _lengths(twin, inputs, stages):
    return [Layers(twin, inputs, row, stages).lengths for row in range(len(inputs["input_ids"]))]


MODES = {
    "cache": {},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static", "disable_compile": True},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
}


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stages", STAGES, ids=str)
def test_decoding(model, twin, stages, mode, positions):
    inputs = tiny.prompts(model, (1,) if mode == "prompt lookup" else (1, 0, 2))
    with tokenprune.attach(model, pipeline(stages, "previous", positions)):
        out = model.generate(**inputs, max_new_tokens=COUNT, **LOGITS, **MODES[mode])
    new = out.sequences[:, inputs["input_ids"].shape[1] :]
    for row, ids in enumerate(new):
        hand = Layers(twin, inputs, row, stages, "previous", positions, tail=ids[:-1].tolist())
        steps = hand.logits[-len(ids) :]
        assert torch.equal(steps.argmax(-1), ids)
        torch.testing.assert_close(torch.stack(out.logits, 1)[row], steps, **CLOSE)


@pytest.mark.parametrize("stages", STAGES, ids=str)
def test_beams(model, twin, stages):
    inputs = tiny.prompts(model, (1, 2))
    with tokenprune.attach(model, pipeline(stages, "previous")) as pruned:
        out = model.generate(**inputs, max_new_tokens=3, num_beams=3, num_return_sequences=2)
    new = out[:, inputs["input_ids"].shape[1] :]
    for row in range(2):
        beams = [(0.0, [])]
        for _ in range(3):
            grown = []
            for score, tail in beams:
                logits = Layers(twin, inputs, row, stages, "previous", tail=tail).logits[-1]
                best = logits.log_softmax(-1).topk(3)
                grown += [(score + float(v), [*tail, int(i)]) for v, i in zip(*best, strict=True)]
            beams = sorted(grown, reverse=True)[:3]
        assert new[2 * row : 2 * row + 2].tolist() == [tail for _, tail in beams[:2]]
    assert [len(kept) for kept in pruned.receipt.layers[0].kept] == [{2: 9, 1: 18}[min(stages)]] * 3


@pytest.mark.parametrize("stages", STAGES, ids=str)
def test_an_assistant_drafts(model, twin, stages):
    inputs = tiny.prompts(model, (2,))
    with tokenprune.attach(model, pipeline(stages, "previous")):
        plain = model.generate(**inputs, max_new_tokens=8)
        drafted = model.generate(**inputs, max_new_tokens=8, assistant_model=tiny.language())
    assert torch.equal(plain, drafted)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_hand_written_loop_goes_on_from_the_cache(model, positions):
    inputs = tiny.prompts(model, (1, 2))
    with tokenprune.attach(model, pipeline(STAGES[1], "previous", positions)):
        want = model.generate(**inputs, max_new_tokens=4)[:, -4:]
        mask = inputs["attention_mask"]
        numbers = mask.cumsum(-1) - 1
        out, found = model(**inputs, position_ids=numbers.clamp(min=0)), []
        for step in range(4):
            found.append(out.logits[:, -1].argmax(-1))
            mask = torch.cat([mask, mask.new_ones(2, 1)], 1)
            at = numbers[:, -1:] + 1 + step
            parts = {"attention_mask": mask, "position_ids": at, "past_key_values": out.past_key_values}
            out = model(input_ids=found[-1][:, None], **parts)
    assert torch.equal(torch.stack(found, 1), want)


def test_all_of_it_changes_no_bit(model):
    inputs = tiny.prompts(model, (1, 0, 2))
    with tokenprune.attach(model, pipeline(STAGES[1], "previous"), budget="100%") as pruned:
        there, ids = model(**inputs).logits, model.generate(**inputs, max_new_tokens=3)
    assert torch.equal(there, model(**inputs).logits)
    assert torch.equal(ids, model.generate(**inputs, max_new_tokens=3))
    assert pruned.receipt.layers == ()


def test_both_sites_together(model, twin):
    """A stage before the language model, then one inside it: the second chooses among what the first left."""
    inputs = tiny.prompts(model, (1,))
    stages = [
        {"scorer": "uniform", "splitter": "equal", "budget": "50%"},
        {"site": {"llm_layer": 2}, "scorer": LastRow(), "budget": "25%"},
    ]
    with tokenprune.attach(model, {"name": "both", "stages": stages}) as pruned:
        out = model(**inputs)
    image, layer = pruned.receipt.images[0], pruned.receipt.layers[0]
    assert (image.after, len(layer.kept[0])) == (18, 9)
    assert set(layer.kept[0].tolist()) < set(image.kept.tolist())
    assert [one.keys.shape[2] for one in out.past_key_values.layers] == [
        inputs["input_ids"].shape[1] - dropped for dropped in (18, 18, 27, 27)
    ]
    assert pruned.receipt.average == (18 * 2 + 9 * 2) / 4


def test_the_loss_is_that_of_the_columns_that_are_left(model, twin):
    inputs = tiny.prompts(model, (1, 2))
    ids = inputs["input_ids"]
    unsaid = (ids == tiny.IMAGE) | (ids == tiny.BOS) | (inputs["attention_mask"] == 0)
    labels = ids.masked_fill(unsaid, -100)
    stages = STAGES[1]
    with tokenprune.attach(model, pipeline(stages, "previous")):
        loss = model(**inputs, labels=labels).loss
    parts = []
    for row in range(2):
        hand = Layers(twin, inputs, row, stages, "previous", numbering="forward")
        wanted = labels[row, hand.slots][1:]
        losses = cross_entropy(hand.logits[:-1], wanted, ignore_index=-100, reduction="none")
        parts.append(losses[wanted >= 0])
    torch.testing.assert_close(loss, torch.cat(parts).mean(), **CLOSE)


@pytest.mark.parametrize("images", [(1,), (1, 2)], ids=str)
def test_the_bytes_that_the_receipt_saves_are_those_that_the_cache_is_smaller_by(model, images):
    inputs = tiny.prompts(model, images)

    def held():
        cache = model(**inputs).past_key_values
        return sum(one.numel() * one.element_size() for layer in cache.layers for one in (layer.keys, layer.values))

    before = {"scorer": "uniform", "splitter": "equal", "budget": "50%"}
    full, inside = held(), pipeline(STAGES[1])["stages"]
    for way in ({"stages": inside}, {"stages": [before, *inside]}, before):
        with tokenprune.attach(model, {"name": "mine", **way}) as pruned:
            assert full - held() == pruned.receipt.kv_bytes_saved > 0
