"""The page of the command line says what the commands say."""

import json
import re
import shlex
from inspect import getdoc

import house
import pytest
from cli import document

from tokenprune.cli import COMMANDS

TEXT = document.PAGE.read_text("utf-8")


def test_the_page_is_current():
    assert document.page(TEXT) == TEXT, "write it anew: python tests/cli/document.py"


@pytest.mark.parametrize(("panel", "name"), [(panel, name) for panel in COMMANDS for name in COMMANDS[panel]])
def test_every_option_of_a_command_is_on_the_page(call, panel, name):
    (section,) = re.findall(rf"^### tokenprune {name}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    offered = set(re.findall(r"^│ *\*? *(--[a-z-]+)", call(name, "--help").stdout, re.MULTILINE))
    assert set(re.findall(r"^\| `(--[a-z-]+)`", section, re.MULTILINE)) == offered - {"--json", "--debug", "--help"}
    assert document.flowing(getdoc(COMMANDS[panel][name])) in section


def test_mistakes_are_shown_as_they_are_printed(call, tmp_path):
    shown = re.search(r"\$ (tokenprune validate .*?)\n(.*?)```", TEXT, re.DOTALL)
    lines = {int(line): text for line, text in re.findall(r"mine\.yaml:(\d+):.*\n {4}(.*)\n", shown[2])}
    (tmp_path / "mine.yaml").write_text(f"name: mine\n{lines[2]}\n{lines[3]}\nbudget: 25%\n", encoding="utf-8")
    found = call(*shlex.split(shown[1])[1:])
    assert found.stdout + found.stderr == shown[2]


def test_nothing_heavy_is_needed_to_write_it():
    assert (
        house.loaded("from cli import document", house.ROOT, house.ROOT / "tests") & {"torch", "transformers"} == set()
    )


def test_what_is_piped_is_json(call):
    assert "`tokenprune list --json | jq`" in TEXT
    json.loads(call("list", "--json").stdout)
