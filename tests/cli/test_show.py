import json

import pytest

import tokenprune
from tokenprune.registry import yaml_of


@pytest.mark.parametrize("name", tokenprune.list_pipelines())
def test_the_yaml_is_printed_as_it_is(call, name):
    found = call("show", name)
    assert (found.exit_code, found.stdout, found.stderr) == (0, yaml_of(name), "")


@pytest.mark.parametrize("name", tokenprune.list_pipelines())
def test_the_resolved_mapping_loads_as_the_same_pipeline(call, name):
    assert tokenprune.load(json.loads(call("show", name, "--json").stdout)) == tokenprune.load(name)


def test_the_resolved_mapping_holds_defaults_too(call):
    (stage,) = json.loads(call("show", "fastervlm", "--json").stdout)["stages"]
    assert stage["scorer"]["use"] == "cls_attention"
    assert stage["scorer"]["without_cls"] == "received"
    assert stage["diversifier"] is None
    assert stage["site"] == "pre_llm"


def test_a_file_is_shown_like_a_registered_pipeline(call, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsplitter: equal\nbudget: 7\n", encoding="utf-8")
    assert call("show", path).stdout == path.read_text(encoding="utf-8")
    assert json.loads(call("show", path, "--json").stdout)["budget"] == 7


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("visprunner", "error: no 'visprunner' among the pipelines; did you mean 'vispruner'? There is: "),
        ("none.yaml", "error: cannot read the pipeline 'none.yaml': "),
    ],
)
def test_what_is_not_there_is_an_error(call, name, said):
    found = call("show", name)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith(said)
    assert found.stderr.count("\n") == 1
