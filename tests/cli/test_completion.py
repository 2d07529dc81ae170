import pytest
from typer.testing import CliRunner

import tokenprune
from tokenprune.cli import app, completing


def completed(*words):
    """What bash is told when the last word is being typed."""
    line = " ".join(["tokenprune", *words])
    env = {"_TOKENPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    return CliRunner().invoke(app, [], env=env, prog_name="tokenprune").stdout.split()


NAMING = [["show"], ["cite"], ["validate"], ["run", "--pipeline"], ["bench", "--pipeline"]]
NAMING += [[command, "--pipelines"] for command in ("eval", "flops", "view", "compare")]


@pytest.mark.parametrize("command", NAMING)
def test_pipelines_are_completed_by_name(command):
    wanted = [name for name in tokenprune.list_pipelines() if name.startswith("vis")]
    assert completed(*command, "vis") == wanted
    assert len(wanted) > 1


def test_list_completes_names_of_every_kind():
    assert {"cls_attention", "cdpruner", "chameleon"} <= set(completed("list", "c"))
    assert completed("list", "qwen3_v") == ["qwen3_vl"]


def test_commands_and_options_are_completed():
    assert completed("ins") == ["inspect"]
    assert completed("list", "--ki") == ["--kind"]


def test_a_pipeline_comes_with_what_it_is_on_one_short_line():
    for name, told in completing.pipelines(""):
        assert told
        assert len(told) <= completing.WIDTH
        assert "\n" not in told
        assert name in tokenprune.list_pipelines()


def test_the_last_of_several_is_completed_once():
    assert completing.several_pipelines("vispr") == ["vispruner"]
    assert completing.several_pipelines("vispruner,divp") == ["vispruner,divprune"]
    assert completing.several_pipelines("vispruner,vispr") == []


def test_completion_can_be_installed(call):
    assert "--install-completion" in call("--help").stdout
