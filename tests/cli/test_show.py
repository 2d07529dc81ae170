import json

import pytest

import tokenprune
from tokenprune.registry import yaml_of


@pytest.mark.parametrize("name", tokenprune.list_pipelines())
def test_the_yaml_is_printed_as_it_is(call, name):
    found = call("show", name)
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.startswith(yaml_of(name) + "\n")


@pytest.mark.parametrize("name", tokenprune.list_pipelines())
def test_the_resolved_mapping_loads_as_the_same_pipeline(call, name):
    assert tokenprune.load(json.loads(call("show", name, "--json").stdout)["pipeline"]) == tokenprune.load(name)


def test_the_resolved_mapping_holds_defaults_too(call):
    (stage,) = json.loads(call("show", "fastervlm", "--json").stdout)["pipeline"]["stages"]
    assert stage["scorer"]["use"] == "cls_attention"
    assert stage["scorer"]["without_cls"] == "received"
    assert stage["diversifier"] is None
    assert stage["site"] == "pre_llm"


def test_a_file_is_shown_like_a_registered_pipeline(call, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsplitter: equal\nbudget: 7\n", encoding="utf-8")
    found = call("show", path).stdout
    assert found.startswith(path.read_text(encoding="utf-8") + "\nReads:\n- nothing of the model but its tokens\n")
    assert json.loads(call("show", path, "--json").stdout)["pipeline"]["budget"] == 7
    assert json.loads(call("show", path, "--json").stdout)["bibtex"] == []


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


def test_a_pipeline_is_shown_with_its_paper_its_cues_and_its_parts(call):
    found = call("show", "prumerge_plus").stdout
    assert "@inproceedings{prumerge," in found
    assert "- wide_cls_attention@-1, else received_attention@-1: " in found
    for part in ("scorer cls_attention", "splitter equal", "diversifier second_score", "merger knn_weighted"):
        assert f"\n{part}: " in found
    assert "\nscorer uniform: " in found  # a setting of the diversifier
    assert "  neighbours: 32  (whole number from 1)\n" in found


def test_the_families_that_give_a_cue_are_told_apart(call):
    (wish,) = json.loads(call("show", "globalcom2", "--json").stdout)["reads"].values()
    assert "fuyu" in wish["without"]
    assert {"qwen2_5_vl", "internvl", "llava"} <= set(wish["families"])


@pytest.mark.parametrize("name", ["dpp", "diversifiers:dpp"])
def test_a_part_is_shown_by_its_name(call, name):
    found = call("show", name).stdout
    assert found.startswith("diversifier dpp: ")
    assert "kernel r_i cos_ij r_j" in found
    assert "  as_released: false  (true, false)\n" in found
    assert json.loads(call("show", name, "--json").stdout)["settings"][0]["name"] == "as_released"


def test_a_pipeline_comes_before_a_part_of_its_name(call):
    assert call("show", "random").stdout.startswith(yaml_of("random"))
    assert call("show", "scorers:random").stdout.startswith("scorer random: ")


def test_a_name_of_two_kinds_asks_which_is_meant(call, monkeypatch):
    from tokenprune.cli import showing

    monkeypatch.setattr(showing, "list_strategies", lambda: {"scorers": ["both"], "mergers": ["both"]})
    assert call("show", "both").stderr == (
        "error: 'both' is a name of several kinds; write scorers:both or mergers:both\n"
    )


@pytest.mark.parametrize("width", ["80", "50"])
def test_what_is_told_of_parts_fits_the_screen(call, width):
    told = call("show", "vispruner", COLUMNS=width).stdout.split("\nReads:\n", 1)[1]
    assert max(map(len, told.splitlines())) <= int(width)
    assert "``" not in told
    words = " ".join(call("show", "vispruner", COLUMNS="400").stdout.split("\nReads:\n", 1)[1].split())
    assert " ".join(told.split()) == words
    later = told.split("\n    `mean` or `sum`", 1)[1].splitlines()[1:]
    assert all(line.startswith("  ") or not line or line.startswith(("splitter", "diversifier")) for line in later)


def test_lists_in_a_formula_are_left_as_they_are():
    from tokenprune.cli.sheet import _paragraph

    assert list(_paragraph("One:\n* first\n* second", 10)) == ["  One:", "  * first", "  * second"]
