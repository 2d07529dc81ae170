import json
import re

import pytest

import tokenprune
from tokenprune import registry
from tokenprune.cli import catalogue

COLOUR = re.compile("\x1b\\[[0-9;]*3[0-7][0-9;]*m")


def test_every_name_is_listed(call):
    found = call("list")
    assert found.exit_code == 0
    assert found.stderr == ""
    words = set(found.stdout.replace(",", " ").split())
    parts = [name for names in tokenprune.list_strategies().values() for name in names]
    assert {*tokenprune.list_pipelines(), *parts, *tokenprune.list_families()} <= words


def test_a_pipeline_is_summed_up_by_the_first_line_of_its_file(call):
    found = json.loads(call("list", "--json").stdout)
    assert [one["name"] for one in found["pipelines"]] == tokenprune.list_pipelines()
    for one in found["pipelines"]:
        assert call("show", one["name"]).stdout.startswith(f"# {one['summary']}\n")
    assert {kind: found[kind] for kind in tokenprune.list_strategies()} == tokenprune.list_strategies()
    assert found["families"] == tokenprune.list_families()


def test_wildcards_narrow_the_list(call):
    assert [line.split()[0] for line in call("list", "vispr*").stdout.splitlines() if line.strip()] == [
        "pipeline",
        "vispruner",
    ]
    found = json.loads(call("list", "*random*", "--json").stdout)
    assert [one["name"] for one in found["pipelines"]] == ["random"]
    assert found["scorers"] == ["random"]
    assert found["splitters"] == found["diversifiers"] == found["families"] == []


def test_a_pattern_without_a_match_is_an_error(call):
    found = call("list", "vsi*")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == "error: no name matches 'vsi*'; 'tokenprune list' shows them all\n"


def test_a_broken_pipeline_says_so_and_the_others_are_listed(call, monkeypatch):
    def yaml_of(name):
        if name == "divprune":
            raise registry.ConflictingNames("claimed by a and b")
        return registry.yaml_of(name)

    monkeypatch.setattr(catalogue, "yaml_of", yaml_of)
    found = {one["name"]: one["summary"] for one in json.loads(call("list", "--json").stdout)["pipelines"]}
    assert found.pop("divprune") == "broken: claimed by a and b"
    assert found
    assert not any("broken" in summary for summary in found.values())


@pytest.mark.parametrize(("text", "summary"), [("# One.\n# Two.\nname: x", "One."), ("name: x\n# no", ""), ("", "")])
def test_only_a_first_line_that_is_a_comment_sums_up(monkeypatch, text, summary):
    monkeypatch.setattr(catalogue, "yaml_text", lambda name: text)
    assert catalogue.summary("x") == summary


def test_no_color_takes_the_colours_out(call):
    coloured = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert COLOUR.search(call("list", **coloured, NO_COLOR=None).stdout)
    assert not COLOUR.search(call("list", **coloured, NO_COLOR="1").stdout)
