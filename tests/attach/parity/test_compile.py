"""A compiled decode step is the model's own: the same graphs, no break, short cache."""

import pytest
import torch
import torch._dynamo as dynamo
from attach import tiny
from attach.parity.oracle import CLOSE
from transformers import CompileConfig, StaticCache

import tokenprune

pytestmark = [
    pytest.mark.parametrize("kind", ["llava"], indirect=True),
    pytest.mark.parametrize("positions", ["keep"], indirect=True),
]
COUNT = 4


@pytest.fixture(autouse=True)
def forgotten():
    yield
    dynamo.reset()


def _compiled(model, inputs, forget=True, **options):
    """Output, how many graphs were compiled, and how often one broke."""
    dynamo.utils.counters.clear()
    if forget:
        dynamo.reset()
        for name in ("_compiled_call", "_last_compile_config"):
            model.__dict__.pop(name, None)
    settings = CompileConfig(backend="eager", mode=None, fullgraph=True)
    settings._compile_all_devices = True
    out = model.generate(
        **inputs,
        max_new_tokens=COUNT,
        **(options or {"cache_implementation": "static"}),
        compile_config=settings,
        return_dict_in_generate=True,
    )
    counters = dynamo.utils.counters
    return out, counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


def test_a_compiled_decode_step_follows_attaching_and_detaching(model, quarter, by_hand):
    inputs = tiny.prompts(model, (0, 1))
    with tokenprune.attach(model, quarter):
        pruned, graphs, breaks = _compiled(model, inputs)
    assert torch.equal(pruned.sequences[:, -COUNT:], by_hand(inputs).greedy(COUNT)[0])
    plain, wanted, _ = _compiled(model, inputs)  # after the short one: static caches of one model do not shrink
    assert graphs == wanted > 0
    assert breaks == 0
    assert pruned.past_key_values.layers[0].keys.shape[-2] < plain.past_key_values.layers[0].keys.shape[-2]
    with tokenprune.attach(model, quarter):
        again, _, _ = _compiled(model, inputs, forget=False)
    assert torch.equal(again.sequences, pruned.sequences)
    assert not torch.equal(again.sequences, plain.sequences)


def test_compiled_turns(model, quarter, by_hand):
    """The second turn decodes on a static cache that holds a pruned prompt."""
    inputs = tiny.prompts(model, (0, 1))
    cache = StaticCache(config=model.config.get_text_config(), max_cache_len=64)
    with tokenprune.attach(model, quarter):
        first, _, _ = _compiled(model, inputs, past_key_values=cache)
        ids = torch.cat([first.sequences, torch.tensor([[5, 6], [7, 8]])], 1)
        mask = torch.cat([inputs["attention_mask"], torch.ones(2, COUNT + 2, dtype=torch.int64)], 1)
        turn = {"input_ids": ids, "attention_mask": mask}
        out, _, _ = _compiled(model, turn, past_key_values=cache)
    want = by_hand({**turn, "pixel_values": inputs["pixel_values"]}).greedy(COUNT)[0]
    assert torch.equal(out.sequences[:, -COUNT:], want)


def _loop(model, step, inputs):
    """Greedy decoding by hand; [B, COUNT, V]."""
    out, mask, steps = step(**inputs, use_cache=True), inputs["attention_mask"], []
    for _ in range(COUNT):
        steps.append(out.logits[:, -1])
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        ids = steps[-1].argmax(-1, keepdim=True)
        out = step(input_ids=ids, attention_mask=mask, past_key_values=out.past_key_values)
    return torch.stack(steps, 1)


def test_compiled_calls_of_the_callers(model, quarter, by_hand):
    """Choosing reads values, so it happens between two graphs, and so does going on from a pruned prompt."""
    inputs = tiny.prompts(model, (0, 1))
    with tokenprune.attach(model, quarter), torch.no_grad():
        run = torch.compile(model, backend="eager")
        torch.testing.assert_close(_loop(model, run, inputs), by_hand(inputs, "forward").greedy(COUNT)[1], **CLOSE)
        placed = run(inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"]).logits
        torch.testing.assert_close(placed, model(**inputs).logits, equal_nan=True, **CLOSE)


def test_one_graph_for_all_is_refused(model, quarter):
    inputs = tiny.prompts(model, (1,))
    with tokenprune.attach(model, quarter), torch.no_grad():
        whole = torch.compile(model, backend="eager", fullgraph=True)
        with pytest.raises(dynamo.exc.Unsupported, match="disable"):
            whole(**inputs)
        cache = model(**inputs, use_cache=True).past_key_values
        with pytest.raises(dynamo.exc.Unsupported, match="disable"):
            whole(input_ids=torch.tensor([[5]]), past_key_values=cache)


def test_compiled_calls_without_images_are_whole(model, twin, quarter):
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.no_grad():
        want = twin(input_ids=ids).logits
        with tokenprune.attach(model, quarter):
            found = torch.compile(model, backend="eager", fullgraph=True)(input_ids=ids).logits
    torch.testing.assert_close(found, want, **CLOSE)
