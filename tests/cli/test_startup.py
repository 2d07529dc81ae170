"""Looking around costs nothing: no heavy library is imported for it."""

import os
import subprocess
import sys

import pytest

import tokenprune

HEAVY = ("torch", "transformers", "numpy", "PIL")
CODE = f"""
import sys
from tokenprune.cli import app
try:
    app(sys.argv[1:], prog_name="tokenprune")
finally:
    print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def imported(*arguments, **env):
    env = os.environ | env
    run = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True, env=env)
    assert run.stdout
    return run.stderr.split()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["view", "--help"],
        ["compare", "--help"],
        ["list"],
        ["list", "--json"],
        ["show", "random"],
    ],
)
def test_looking_around_imports_nothing_heavy(arguments):
    assert imported(*arguments) == []


@pytest.mark.parametrize(("line", "word"), [("tokenprune show ", 2), ("tokenprune list ", 2), ("tokenprune r", 1)])
def test_completing_imports_nothing_heavy(line, word):
    env = {"_TOKENPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)}
    assert imported(**env) == []


def test_the_check_above_sees_what_is_imported():
    assert "torch" in imported("show", "random", "--json")


def test_python_runs_the_package_as_a_command():
    run = subprocess.run([sys.executable, "-m", "tokenprune", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["tokenprune", tokenprune.__version__]
