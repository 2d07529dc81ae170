import re

import pytest

from tokenprune.cli.options import SceneSet
from tokenprune.scenes import SETS

COMMANDS = ("list", "show", "inspect", "run", "demo", "view", "compare")


def test_the_first_help_names_every_command(call):
    found = call("--help")
    assert found.exit_code == 0
    assert [name for name in re.findall(r"^│ (\w+)  ", found.stdout, re.M) if name in COMMANDS] == list(COMMANDS)
    assert call("-h").stdout == found.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json_and_debug(call, command):
    found = call(command, "--help")
    assert found.exit_code == 0
    assert re.search(r"--json\b.*JSON in place of tables", found.stdout)
    assert re.search(r"--debug\b.*traceback", found.stdout)


def test_run_says_what_its_options_default_to(call):
    text = " ".join(call("run", "--help", COLUMNS="200").stdout.split())
    for option in ("image", "prompt", "model", "pipeline", "budget", "positions", "max-new-tokens", "device", "dtype"):
        assert f"--{option} " in text
    for default in ("vispruner", "(the embedded toy)", "(the pipeline's)", "(the model's, else 64)"):
        assert f"default: {default}" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lisst"], "lisst"),
        (["run", "--prompt", "x"], "--image"),
        (["run", "--image", "x.png", "--prompt", " "], "the prompt is empty"),
        (["run", "--image", "x.png", "--prompt", "x", "--positions", "both"], "renumber"),
        (["demo", "--set", "dense"], "crowded"),
        (["demo", "--index", "-1"], "--index"),
    ],
)
def test_wrong_usage_ends_with_2(call, arguments, said):
    found = call(*arguments)
    assert found.exit_code == 2
    assert said in found.stderr
    assert found.stdout == ""


def test_the_sets_are_those_that_can_be_drawn():
    assert tuple(kind.value for kind in SceneSet) == SETS
