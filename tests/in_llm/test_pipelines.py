"""Stages inside the language model, as they are written."""

import pytest
import yaml

from tokenprune import Pipeline, load
from tokenprune.errors import PipelineError

INSIDE = {"site": {"llm_layer": "25%"}, "scorer": "uniform", "budget": "50%"}
BEFORE = {"scorer": "uniform", "splitter": "equal", "budget": "60%"}


def test_one_stage_may_stand_at_top_level():
    pipeline = load({"name": "mine", "site": {"llm_layer": 2}, "scorer": "uniform", "budget": 64})
    assert pipeline == load(yaml.safe_load(pipeline.to_yaml()))
    assert (pipeline.stages[0].space, pipeline.stages[0].splitter, pipeline.entry) == ("hidden", None, None)
    assert pipeline.replace(budget=32, scorer="random").stages[0].scorer.seed == 0


def test_several_stages_are_listed():
    pipeline = load({"name": "mine", "stages": [BEFORE, INSIDE, {**INSIDE, "site": {"llm_layer": "50.5%"}}]})
    assert pipeline == load(yaml.safe_load(pipeline.to_yaml())) == Pipeline.model_validate(pipeline.model_dump())
    assert pipeline.plan(32).layers == (0, 8, 16)
    assert pipeline.plan(4).layers == (0, 1, 2)
    assert pipeline.replace(budget=64).plan(32).budget.amount == 64
    assert [stage.inside for stage in pipeline.stages] == [False, True, True]


@pytest.mark.parametrize(
    ("written", "depth", "layer"),
    [(1, 2, 1), ("6.25%", 32, 2), ("6.25%", 8, 1), ("25%", 32, 8), ("1%", 4, 1), ("99%", 4, 3), ("37.5%", 4, 2)],
)
def test_a_share_of_the_depth_is_the_nearest_layer(written, depth, layer):
    assert load({"name": "mine", "site": {"llm_layer": written}, "budget": "50%"}).plan(depth).layers == (layer,)


@pytest.mark.parametrize("written", [0, -1, 1.5, "0%", "100%", "8", "8 %%", None, True, [3]])
def test_layers_that_are_none(written):
    with pytest.raises(PipelineError, match="a layer is a number from 1 on or a share of the depth"):
        load({"name": "mine", "site": {"llm_layer": written}, "budget": "50%"})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"stages": [INSIDE, BEFORE]}, "one stage before the language model, and it is the first"),
        ({"stages": [BEFORE, BEFORE], "budget": 4}, "one stage before the language model, and it is the first"),
        ({"stages": [BEFORE], "budget": 4}, "has the budget of the pipeline; write it there"),
        ({"stages": [{**INSIDE, "budget": None}]}, "write the average over the layers, or a budget of its own"),
        ({"stages": [INSIDE], "schedule": "geometric"}, "write the average over the layers"),
        ({"stages": [{**INSIDE, "budget": "9 per row"}]}, "inside the language model are per image"),
        ({"stages": [INSIDE], "budget": "9 per prompt"}, "inside the language model are per image"),
        ({"stages": [{**INSIDE, "space": "encoder"}]}, "there is no encoder space inside the language model"),
        ({"space": "hidden", "splitter": "equal", "budget": 4}, "there is no hidden space before the language model"),
        ({"site": "image", "splitter": "equal", "stages": [INSIDE]}, "write either 'stages' or the keys of one stage"),
        ({"stages": [{"site": "image", "splitter": "equal"}, INSIDE], "budget": 4}, "a smaller image is a pipeline of"),
    ],
)
def test_what_has_no_meaning(data, said):
    with pytest.raises(PipelineError, match=said):
        load({"name": "mine", **data})


def test_stages_ascend_in_the_model_they_meet():
    pipeline = load({"name": "mine", "stages": [INSIDE, {**INSIDE, "site": {"llm_layer": "30%"}}]})
    assert pipeline.plan(32).layers == (8, 10)
    with pytest.raises(PipelineError, match=r"stages before layers 1, 1 of 4 .* must ascend"):
        pipeline.plan(4)
    with pytest.raises(PipelineError, match=r"llm_layer: 4 asks for a layer that is not there; .* has 4"):
        load({"name": "mine", "site": {"llm_layer": 4}, "budget": "50%"}).plan(4)


def test_several_stages_cannot_choose_from_plain_tensors():
    with pytest.raises(PipelineError, match="has 2 stages, each of which reads the model at its own place"):
        load({"name": "mine", "stages": [BEFORE, INSIDE]}).select(None)
