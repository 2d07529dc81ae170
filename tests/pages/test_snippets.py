"""Every snippet of every page runs: Python in order, YAML as a pipeline, commands as far as their options."""

import importlib.util
import re
import shlex

import pytest
import typer
import yaml
from pages.fences import EVERY, PAGES, ROOT

import tokenprune
from tokenprune.cli import app

ELSEWHERE = "examples/third_party_plugin/"  # its parts are not installed here; the tests of packaging install them
SHOWN = [f for f in EVERY if not (f.is_file or f.is_included or f.page.startswith(ELSEWHERE))]
PYTHON: dict = {}
for fence in SHOWN:
    if fence.language == "python":
        PYTHON.setdefault(fence.page, []).append(fence)
PARTS = {"scorer", "splitter", "stages", "budget"}  # other YAML, such as a task of another program, has none of these
PIPELINES = [fence for fence in SHOWN if fence.language == "yaml" and PARTS & yaml.safe_load(fence.text).keys()]
COMMANDS = sorted({(fence.page, command) for fence in EVERY for command in fence.commands})


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, names):
    for fence in PYTHON[page]:
        code = "\n" * (fence.line - 1) + fence.text  # a traceback names the line of the page
        exec(compile(code, page, "exec"), names)


@pytest.mark.parametrize("fence", PIPELINES, ids=str)
def test_yaml_is_a_pipeline(fence):
    data = yaml.safe_load(fence.text)
    pipeline = tokenprune.load({"name": "shown", "budget": "25%", **data})
    assert tokenprune.load(yaml.safe_load(pipeline.to_yaml())) == pipeline


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda value: value)
def test_a_command_can_be_given(page, command):
    words = command.split() if "-c" in command else shlex.split(command.split("|")[0].split(">")[0])
    CHECKS[words[0]](words[1:])


def _tokenprune(words):
    group = typer.main.get_command(app)
    outer = group.make_context("tokenprune", [*words])
    if outer._protected_args or outer.args:
        name, command, rest = group.resolve_command(outer, [*outer._protected_args, *outer.args])
        command.make_context(name, rest, parent=outer)


def _make(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [word for word in words if not re.fullmatch(r"\w+=\S+", word) and word not in targets] == []


def _python(words):
    assert words
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) or words[1] in {"pip", "venv"}
    elif words[0] != "-c":
        assert (ROOT / words[0]).is_file()


def _pytest(words):
    paths = [word.split("::")[0] for word in words if "/" in word]
    for path in paths:
        stems = re.sub(r"\{(.*?)\}.*", r"\1", path).rsplit("/", 1)[1].split(",") if "{" in path else [""]
        for stem in stems:
            assert (ROOT / re.sub(r"\{.*?\}", stem, path)).exists()


def _pip(words):
    assert words[0] == "install"


CHECKS = {
    "tokenprune": _tokenprune,
    "make": _make,
    "python": _python,
    "pytest": _pytest,
    "pip": _pip,
    ".ci/run": lambda words: None,
}


@pytest.mark.parametrize(
    "command",
    ["tokenprune show", "tokenprune list --jsn", "tokenprune shwo vispruner", "make tset", "python benchmarks/none.py"],
)
def test_a_command_that_cannot_be_given_is_noticed(command):
    with pytest.raises((AssertionError, Exception)):
        test_a_command_can_be_given("", command)


def test_links_of_pages_that_stand_outside_the_site_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
