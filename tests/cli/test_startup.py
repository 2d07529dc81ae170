"""Looking around costs nothing: no heavy library is imported for it."""

import os
import subprocess
import sys

import pytest

import tokenprune

HEAVY = {"torch", "transformers", "numpy", "PIL", "huggingface_hub"}
CORE = {"tokenprune", "tokenprune.errors", "tokenprune.registry"}  # besides the commands themselves
MANY = 600  # modules, with those of Python and rich; torch alone has a thousand
CODE = """
import sys
from tokenprune.cli import app
try:
    app(sys.argv[1:], prog_name="tokenprune")
finally:
    print(*sys.modules, file=sys.stderr)
"""


def imported(*arguments, **env):
    """Every module that a command has loaded when it ends."""
    env = os.environ | env
    run = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True, env=env)
    assert run.stdout
    return set(run.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["view", "--help"],
        ["compare", "--help"],
        ["list"],
        ["list", "--json"],
        ["show", "random", "--yaml"],
        ["cite"],
        ["new-strategy", "-h"],
    ],
)
def test_looking_around_imports_next_to_nothing(arguments):
    found = imported(*arguments)
    assert found & HEAVY == set()
    assert {name for name in found if name.startswith("tokenprune.") and ".cli" not in name} <= CORE
    assert len(found) < MANY


@pytest.mark.parametrize(("line", "word"), [("tokenprune show ", 2), ("tokenprune list ", 2), ("tokenprune r", 1)])
def test_completing_imports_nothing_heavy(line, word):
    env = {"_TOKENPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)}
    assert imported(**env) & HEAVY == set()


def test_the_checks_above_see_what_is_imported():
    found = imported("show", "random", "--json")
    assert {"torch", "tokenprune.pipeline"} <= found
    assert len(found) > MANY


def test_python_runs_the_package_as_a_command():
    run = subprocess.run([sys.executable, "-m", "tokenprune", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["tokenprune", tokenprune.__version__]
