import json

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tokenprune import Budget, Pipeline, list_pipelines, load
from tokenprune.errors import BudgetError, PipelineError
from tokenprune.registry import yaml_of

MINIMAL = {"name": "mine", "splitter": "equal", "budget": 4}


def accepts(data):
    schema = Pipeline.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(data)


def loads(data):
    try:
        load(data)
    except PipelineError:
        return False
    return True


@pytest.mark.parametrize("name", list_pipelines())
def test_every_shipped_pipeline_validates(name):
    assert accepts(yaml.safe_load(yaml_of(name)))
    assert accepts(yaml.safe_load(load(name).to_yaml()))


@pytest.mark.parametrize(
    ("changes", "legal"),
    [
        ({}, True),
        ({"scorer": "uniform"}, True),
        ({"scorer": {"use": "random", "seed": 3}}, True),
        ({"scorer": None, "diversifier": None, "positions": None}, True),
        ({"positions": "keep", "separators": "drop", "space": "projected"}, True),
        ({"budget": "64 per row"}, True),
        ({"scorrer": "uniform"}, False),
        ({"scorer": "unifrom"}, False),
        ({"scorer": "equal"}, False),
        ({"scorer": {"seed": 3}}, False),
        ({"scorer": {"use": "random", "sed": 3}}, False),
        ({"scorer": {"use": "random", "seed": "many"}}, False),
        ({"splitter": None}, False),
        ({"splitter": {"use": "equal", "important": 2}}, False),
        ({"positions": "shift"}, False),
        ({"name": ""}, False),
        ({"budget": 0}, False),
        ({"budget": -0.5}, False),
        ({"budget": "64 per crop"}, False),
        ({"budget": None}, False),
    ],
)
def test_the_schema_agrees_with_load(changes, legal):
    data = {**MINIMAL, **changes}
    assert (accepts(data), loads(data)) == (legal, legal)


@pytest.mark.parametrize("missing", MINIMAL)
def test_what_is_required_is_required(missing):
    data = {key: value for key, value in MINIMAL.items() if key != missing}
    assert (accepts(data), loads(data)) == (False, False)


@pytest.mark.parametrize(
    ("stages", "legal"),
    [([{"splitter": "equal"}], True), ([{"splitter": "equal"}] * 2, False), ([], False), ([{}], False), (3, False)],
)
def test_stages_may_be_listed(stages, legal):
    data = {"name": "mine", "stages": stages, "budget": 4}
    assert (accepts(data), loads(data)) == (legal, legal)


BUDGET = jsonschema.Draft202012Validator(Pipeline.model_json_schema()["properties"]["budget"])
NEAR = st.text(alphabet="0159.%+- e", max_size=8)


@given(st.one_of(NEAR, NEAR.map(lambda text: f"{text} per row"), st.integers(-3, 9), st.floats(-1, 2)))
def test_a_budget_that_can_be_read_is_in_the_schema(written):
    try:
        Budget.parse(written)
    except BudgetError:
        return
    assert BUDGET.is_valid(written)


def test_third_party_settings_are_in_the_schema(plant, plugin):
    plant("scorers", "brightness", "planted_plugin:Brightness")
    settings = {"way": "down", "power": 2, "window": [3, 4], "depth": {"layer": 2}}
    assert accepts({**MINIMAL, "scorer": "brightness"})
    assert accepts({**MINIMAL, "scorer": {"use": "brightness", **settings}})
    for wrong in ({"way": "left"}, {"power": 0}, {"window": [1, 2, 3]}, {"depth": {"layer": -1}}, {"depth": {"l": 1}}):
        data = {**MINIMAL, "scorer": {"use": "brightness", **wrong}}
        assert (accepts(data), loads(data)) == (False, False), wrong
    pipeline = load({**MINIMAL, "scorer": {"use": "brightness", **settings}})
    assert load(yaml.safe_load(pipeline.to_yaml())) == pipeline
    assert accepts(yaml.safe_load(pipeline.to_yaml()))


def test_settings_that_no_schema_can_say_leave_the_rest_alone(plant, plugin):
    plant("scorers", "no_schema", "planted_plugin:NoSchema")
    assert accepts({**MINIMAL, "scorer": "uniform"})
    assert not accepts({**MINIMAL, "scorer": "no_schema"})
    assert loads({**MINIMAL, "scorer": "no_schema"})


def test_the_schema_is_json():
    assert json.loads(json.dumps(Pipeline.model_json_schema())) == Pipeline.model_json_schema()
