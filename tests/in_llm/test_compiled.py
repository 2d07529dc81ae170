"""A compiled decode step has no graph break, and no more graphs than without pruning."""

import pytest
import torch
import torch._dynamo as dynamo
from attach import tiny
from in_llm.test_parity import STAGES, pipeline
from transformers import CompileConfig

import tokenprune


@pytest.fixture(autouse=True)
def forgotten(model):
    yield
    dynamo.reset()
    for name in ("_compiled_call", "_last_compile_config", "_cache"):
        model.__dict__.pop(name, None)


def compiled(model, inputs):
    """Ids, how many graphs were compiled, and how often one broke."""
    dynamo.utils.counters.clear()
    settings = CompileConfig(backend="eager", mode=None, fullgraph=True)
    settings._compile_all_devices = True
    ids = model.generate(**inputs, max_new_tokens=6, cache_implementation="static", compile_config=settings)
    counters = dynamo.utils.counters
    return ids, counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


@pytest.mark.parametrize("positions", ["keep", "renumber"])
def test_a_decode_step(model, positions):
    inputs, other = tiny.prompts(model, (1, 2)), tiny.prompts(model, (1, 2), seed=9)
    way = pipeline(STAGES[1], "previous", positions)
    with tokenprune.attach(model, way):
        want = [model.generate(**one, max_new_tokens=6) for one in (inputs, other)]
        ids, graphs, breaks = compiled(model, inputs)
        again, more, _ = compiled(model, other)
    assert torch.equal(ids, want[0])
    assert torch.equal(again, want[1])
    assert (breaks, more) == (0, 0)
    plain = compiled(model, inputs)
    assert torch.equal(plain[0], model.generate(**inputs, max_new_tokens=6))
    dynamo.reset()
    assert graphs == compiled(model, inputs)[1] > 0


def test_what_was_compiled_before_attaching_is_not_what_runs_after(model):
    inputs = tiny.prompts(model, (1, 2))
    compiled(model, inputs)
    with tokenprune.attach(model, pipeline(STAGES[1], "previous")):
        want = model.generate(**inputs, max_new_tokens=6)
        assert torch.equal(compiled(model, inputs)[0], want)
