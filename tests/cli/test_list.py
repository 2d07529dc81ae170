import json
import re

import pytest

import tokenprune
from tokenprune import registry
from tokenprune.cli import catalogue
from tokenprune.cli.listing import Kind

COLOUR = re.compile("\x1b\\[[0-9;]*3[0-7][0-9;]*m")


def test_every_name_is_listed(call):
    found = call("list")
    assert found.exit_code == 0
    assert found.stderr == ""
    words = set(found.stdout.replace(",", " ").split())
    parts = [name for names in tokenprune.list_strategies().values() for name in names]
    assert {*tokenprune.list_pipelines(), *parts, *tokenprune.list_families()} <= words


def test_a_pipeline_is_summed_up_by_the_first_sentence_of_its_file(call):
    found = json.loads(call("list", "--json").stdout)
    assert [one["name"] for one in found["pipelines"]] == tokenprune.list_pipelines()
    for one in found["pipelines"]:
        assert call("show", one["name"]).stdout.replace("\n# ", " ").startswith(f"# {one['summary']}")
        assert one["summary"].endswith("."), "a sentence that is not cut"
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
    found = call("list", "xyz*")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == "error: no name matches 'xyz*'; 'tokenprune list' shows them all\n"
    assert "matches 'visprunner'; did you mean 'vispruner'? 'tokenprune list'" in call("list", "visprunner").stderr
    said = call("list", "xyz*", "zyx", "--kind", "scorers").stderr
    assert "no name among the scorers matches 'xyz*' or 'zyx'; 'tokenprune list'" in said
    assert "no name matches what was asked; " in call("list", "--exclude", "*").stderr


def names(found):
    plain = json.loads(found.stdout)
    return {*(one["name"] for one in plain.pop("pipelines")), *(name for kind in plain.values() for name in kind)}


def test_patterns_add_up_and_their_case_is_of_no_account(call):
    found = names(call("list", "VISPR*", "knn_*", "--json"))
    assert found == names(call("list", "vispr*", "--json")) | names(call("list", "knn_*", "--json"))
    assert {"vispruner", "knn_weighted"} <= found


def test_names_are_left_out_by_pattern(call):
    everything, without = (
        names(call("list", *more, "--json")) for more in ([], ["--exclude", "vis*", "--exclude", "equal"])
    )
    assert everything - without == {"equal", *(name for name in everything if name.startswith("vis"))}


def test_one_kind_alone(call):
    found = json.loads(call("list", "--kind", "mergers", "--json").stdout)
    assert found.pop("mergers") == tokenprune.list_strategies()["mergers"]
    assert not any(found.values())
    assert [kind.value for kind in Kind] == ["pipelines", *tokenprune.list_strategies(), "families"]


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


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("# One.\n# Two.\nname: x", "One."),
        ("# Of 1.5 things one that\n# goes on. Two.\nname: x", "Of 1.5 things one that goes on."),
        ("# No stop\nname: x", "No stop"),
        ("name: x\n# no", ""),
        ("", ""),
    ],
)
def test_only_a_comment_at_the_top_sums_up(monkeypatch, text, summary):
    monkeypatch.setattr(catalogue, "yaml_text", lambda name: text)
    assert catalogue.summary("x") == summary


def test_no_color_takes_the_colours_out(call):
    coloured = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert COLOUR.search(call("list", **coloured, NO_COLOR=None).stdout)
    assert not COLOUR.search(call("list", **coloured, NO_COLOR="1").stdout)
