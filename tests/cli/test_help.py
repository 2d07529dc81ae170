import re

import pytest
import typer

from tokenprune.cli import COMMANDS as PANELS
from tokenprune.cli import app
from tokenprune.cli.options import SceneSet
from tokenprune.scenes import SETS

COMMANDS = typer.main.get_command(app).commands


def test_the_first_help_names_every_command_in_its_panel(call):
    found = call("--help")
    assert found.exit_code == 0
    panels = re.split(r"^╭─ (.*?) ─*╮$", found.stdout, flags=re.MULTILINE)
    texts = dict(zip(panels[1::2], panels[2::2], strict=True))
    named = {panel: re.findall(r"^│ ([a-z-]+)  ", text, re.MULTILINE) for panel, text in texts.items()}
    named.pop("Options")
    assert named == {panel: list(commands) for panel, commands in PANELS.items()}
    assert call("-h").stdout == found.stdout


def test_no_command_stands_outside_the_panels():
    assert [name for commands in PANELS.values() for name in commands] == list(COMMANDS)


def test_the_first_help_tells_exit_codes(call):
    assert "Exit codes: 0 done, 1 an error said in words, 2 wrong usage" in call("--help").stdout


def test_help_without_colour_has_none(call):
    coloured = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[1;36m" in call("--help", **coloured, NO_COLOR=None).stdout
    assert "\x1b[1;36m" not in call("--help", **coloured, NO_COLOR="1").stdout


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
