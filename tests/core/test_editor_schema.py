import json
import re

import jsonschema
import pytest
import yaml
from house import ROOT

from tokenprune import Pipeline, list_pipelines, list_strategies, load
from tokenprune.errors import PipelineError
from tokenprune.named import strategy_class
from tokenprune.registry import yaml_of
from tokenprune.schema import editor_schema
from tokenprune.strategy import BudgetSplitter, Diversifier, Merger, Scorer

COMMITTED = ROOT / "strategies/tokenprune_strategies/pipeline.schema.json"
BUILT_IN = sorted((ROOT / "strategies/tokenprune_strategies/pipelines").glob("*.yaml"))
FILES = BUILT_IN + sorted((ROOT / "examples").rglob("*.yaml"))
LINE = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.MULTILINE)
MINIMAL = {"name": "mine", "splitter": "equal", "budget": 4}


@pytest.fixture(scope="module")
def schema():
    return editor_schema()


def valid(schema, data):
    return jsonschema.Draft7Validator(schema).is_valid(data)


def test_the_committed_schema_is_current(schema):
    command = "tokenprune schema --out strategies/tokenprune_strategies/pipeline.schema.json"
    assert json.loads(COMMITTED.read_text("utf-8")) == schema, f"write it anew: {command}"
    assert COMMITTED.read_text("utf-8") == json.dumps(schema, indent=2) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_names_its_schema_once(path):
    assert len(LINE.findall(path.read_text("utf-8"))) == 1, "write '# yaml-language-server: $schema=...' before name"


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.name)
def test_a_built_in_file_keeps_the_schema_beside_it(path):
    (place,) = LINE.findall(path.read_text("utf-8"))
    assert (path.parent / place).resolve() == COMMITTED  # within the package, so it holds in a wheel too
    assert valid(json.loads(COMMITTED.read_text("utf-8")), yaml.safe_load(path.read_text("utf-8")))


def test_it_is_draft_7_and_whole(schema):
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"].startswith("http://json-schema.org/draft-07/")
    text = json.dumps(schema)
    assert set(re.findall(r'"#/\$defs/(\w+)"', text)) == set(schema["$defs"])
    assert "prefixItems" not in text


def test_what_occurs_twice_is_written_once(schema):
    assert len(json.dumps(schema)) < 0.4 * len(json.dumps(Pipeline.model_json_schema()))


@pytest.mark.parametrize("name", list_pipelines())
def test_it_takes_what_is_registered(schema, name):
    assert valid(schema, yaml.safe_load(yaml_of(name)))
    assert valid(schema, yaml.safe_load(load(name).to_yaml()))


@pytest.mark.parametrize(
    ("changes", "legal"),
    [
        ({}, True),
        ({"scorer": {"use": "random", "seed": 3}}, True),
        ({"scorer": None, "positions": None, "separators": "drop"}, True),
        ({"diversifier": {"use": "second_score", "of": {"use": "random", "seed": 1}}}, True),
        ({"budget": "64 per row"}, True),
        ({"scorrer": "uniform"}, False),
        ({"scorer": "unifrom"}, False),
        ({"scorer": {"use": "random", "sed": 3}}, False),
        ({"splitter": {"use": "equal", "important": 2}}, False),
        ({"positions": "shift"}, False),
        ({"budget": 0}, False),
    ],
)
def test_it_agrees_with_load(schema, changes, legal):
    data = MINIMAL | changes
    if legal:
        load(data)
    else:
        with pytest.raises(PipelineError):
            load(data)
    assert valid(schema, data) == legal


@pytest.mark.parametrize("kind", [Scorer, BudgetSplitter, Diversifier, Merger])
def test_what_a_docstring_says_of_a_setting_stands_beside_it(schema, kind):
    key = {Scorer: "scorer", BudgetSplitter: "splitter", Diversifier: "diversifier", Merger: "merger"}[kind]
    told = {}
    for option in resolved(schema, schema["properties"][key])["anyOf"]:
        option = resolved(schema, option)
        if "use" in option.get("properties", {}):
            told[option["properties"]["use"]["const"]] = option
    assert set(told) == set(list_strategies()[kind.group.removeprefix("tokenprune.")])
    for name, option in told.items():
        cls = strategy_class(kind, name)
        arguments = re.findall(r"^ {4,8}(\w+): ", (cls.__doc__ or "").partition("Args:")[2], re.MULTILINE)
        for setting in set(arguments) & set(cls.model_fields):
            assert resolved(schema, option["properties"][setting])["description"], (name, setting)
        assert "Args:" not in option["description"]


def resolved(schema, below):
    while "$ref" in below:
        below = schema["$defs"][below["$ref"].removeprefix("#/$defs/")]
    return below


def test_keys_at_top_level_are_told_too(schema):
    for key in ("scorer", "splitter", "diversifier", "merger", "space"):
        assert resolved(schema, schema["properties"][key])["description"]


def test_third_party_settings_are_in_it(plant, plugin):
    plant("scorers", "brightness", "planted_plugin:Brightness")
    grown = editor_schema()
    assert valid(grown, {**MINIMAL, "scorer": {"use": "brightness", "window": [3, 4], "depth": {"layer": 2}}})
    for wrong in ({"way": "left"}, {"window": [1, 2, 3]}, {"window": [1, "2"]}, {"depth": {"layer": -1}}):
        assert not valid(grown, {**MINIMAL, "scorer": {"use": "brightness", **wrong}}), wrong
