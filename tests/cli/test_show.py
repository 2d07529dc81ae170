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


def test_yaml_to_start_from_names_the_schema_beside_it(call, tmp_path):
    found = call("show", "vispruner", "--yaml")
    was, now = yaml_of("vispruner").splitlines(), found.stdout.splitlines()
    changed = [i for i, line in enumerate(was) if line != now[i]]
    assert len(was) == len(now)
    assert [now[i] for i in changed] == ["# yaml-language-server: $schema=pipeline.schema.json"]
    assert "'tokenprune schema --out pipeline.schema.json' beside it" in found.stderr
    (tmp_path / "mine.yaml").write_text(found.stdout, encoding="utf-8")
    assert tokenprune.load(tmp_path / "mine.yaml") == tokenprune.load("vispruner")


@pytest.mark.parametrize("head", ["", "# Mine.\n# Of me.\n"])
def test_a_file_that_names_no_schema_gets_the_line_before_its_first_key(call, tmp_path, head):
    (tmp_path / "mine.yaml").write_text(f"{head}name: mine\nsplitter: equal\nbudget: 7\n", encoding="utf-8")
    line = "# yaml-language-server: $schema=pipeline.schema.json\n"
    assert call("show", "mine.yaml", "--yaml").stdout == f"{head}{line}name: mine\nsplitter: equal\nbudget: 7\n"


def test_yaml_and_json_at_once_are_wrong_usage(call):
    assert call("show", "vispruner", "--yaml", "--json").exit_code == 2
