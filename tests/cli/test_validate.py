import json

import pytest

WRONG = "name: mine\nscorrer: random\nsplitter: {use: equal,\n  importnt: 3}\nbudget: 4\n"


@pytest.fixture
def wrong(tmp_path):
    (tmp_path / "wrong.yaml").write_text(WRONG, encoding="utf-8")
    (tmp_path / "right.yaml").write_text("name: x\nsplitter: equal\nbudget: 4\n", encoding="utf-8")


def test_mistakes_are_told_as_compilers_tell_them(call, wrong):
    found = call("validate", "right.yaml", "wrong.yaml", "vispruner")
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "right.yaml: valid",
        "wrong.yaml:2:1: scorrer: unknown key; did you mean 'scorer'?",
        "    scorrer: random",
        "    ^",
        "wrong.yaml:4:3: splitter.importnt: unknown key; did you mean 'important'?",
        "      importnt: 3}",
        "      ^",
        "vispruner: valid",
    ]
    assert found.stderr == "error: 2 mistakes in 1 of 3 files\n"


def test_what_is_valid_ends_with_0(call, wrong):
    found = call("validate", "right.yaml", "divprune")
    assert (found.exit_code, found.stdout, found.stderr) == (0, "right.yaml: valid\ndivprune: valid\n", "")


def test_json_holds_lines_and_columns(call, wrong):
    found = call("validate", "wrong.yaml", "right.yaml", "--json")
    assert found.exit_code == 1
    one, other = json.loads(found.stdout)
    assert other == {"file": "right.yaml", "valid": True, "mistakes": []}
    assert (one["file"], one["valid"]) == ("wrong.yaml", False)
    assert one["mistakes"][0] == {
        "line": 2, "column": 1, "key": "scorrer", "message": "unknown key; did you mean 'scorer'?"
    }  # fmt: skip


def test_a_place_behind_the_last_line_is_told_without_one(call, tmp_path):
    (tmp_path / "cut.yaml").write_text("name: [\n", encoding="utf-8")
    assert call("validate", "cut.yaml").stdout.startswith("cut.yaml:2:1: this is not YAML: ")


def test_a_file_that_is_not_there_is_a_mistake_and_the_others_are_read(call, wrong):
    found = call("validate", "none.yaml", "right.yaml", "visprunner")
    assert found.exit_code == 1
    none, right, name = found.stdout.splitlines()
    assert none.startswith("none.yaml:1:1: cannot read the pipeline 'none.yaml': ")
    assert right == "right.yaml: valid"
    assert name.startswith("visprunner:1:1: no 'visprunner' among the pipelines; did you mean 'vispruner'?")
    assert found.stderr == "error: 2 mistakes in 2 of 3 files\n"


def test_no_file_is_wrong_usage(call):
    assert call("validate").exit_code == 2
