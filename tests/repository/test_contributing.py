"""CONTRIBUTING is followed to the letter: its files are put into a copy of the checkout, and everything holds there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import house
import pytest

ROOT = house.ROOT
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
FILES = dict(re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```$', TEXT, re.MULTILINE | re.DOTALL))
PROJECT = "pyproject.toml"


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A copy of the checkout in which the page has been followed, installed as far as its names go."""
    copy = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("*.safetensors", "__pycache__", ".hypothesis")
    for name in ("tokenprune", "strategies", "adapters", "docs", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("mkdocs.yml", PROJECT):
        shutil.copy(ROOT / name, copy)
    for name in FILES.keys() - {PROJECT}:
        assert not (copy / name).exists(), f"{name} is no new file"
        (copy / name).write_text(FILES[name])
    (copy / PROJECT).write_text(with_lines((copy / PROJECT).read_text("utf-8")))
    points = tomllib.loads((copy / PROJECT).read_text("utf-8"))["project"]["entry-points"]
    info = copy / "tokenprune_vlm-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tokenprune-vlm\nVersion: 0\n")
    lines = [
        line for group, names in points.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return copy


def with_lines(project):
    """The project file with the page's lines in the tables that are there."""
    for table, line in re.findall(r"^(\[.*\])\n(.*)$", FILES[PROJECT], re.MULTILINE):
        assert f"\n{table}\n" in project
        project = project.replace(f"{table}\n", f"{table}\n{line}\n")
    return project


def python(copy, *arguments):
    roots = os.pathsep.join(str(copy / root) for root in (".", "strategies", "adapters", "tests"))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": roots, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_the_page_holds_every_file_of_a_method():
    assert [name.rsplit(".", 1)[1] for name in FILES] == ["py", "yaml", "toml", "py"]


CONTRACT = (
    "test_a_part_keeps_the_rules[middle-Middle(power=2.0)]",
    "test_a_pipeline_keeps_the_rules[middle]",
    "test_a_pipeline_file_opens_with_what_it_is_and_how_to_run_it[middle]",
)


def test_its_tests_and_those_over_everything_pass(followed):
    ours = [name for name in FILES if name.startswith("tests/")]
    over = [f"tests/test_contract.py::{name}" for name in CONTRACT]
    told = python(followed, "-m", "pytest", "-p", "no:cacheprovider", *ours, *over)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.startswith("." * (2 + len(CONTRACT)) + " "), told.stdout


def test_the_command_line_knows_it(followed):
    told = python(followed, "-m", "tokenprune", "list", "middle", "--json")
    assert '"name": "middle"' in told.stdout
    assert '"scorers": [' in told.stdout


@pytest.mark.parametrize("rule", house.RULES)
def test_the_house_keeps_its_rules(followed, rule):
    assert [one for one in rule(followed) if one not in rule(ROOT)] == []


def test_it_is_formatted_and_linted(followed):
    mine = [str(followed / name) for name in FILES if name.endswith(".py")]
    for check in (("format", "--check"), ("check",)):
        told = python(followed, "-m", "ruff", *check, "--no-cache", *mine)
        assert told.returncode == 0, told.stdout


def test_what_it_says_of_families_is_there():
    section = TEXT.split("## Add a model family", 1)[1].split("## ", 1)[0]
    for name in re.findall(r"`([\w/.-]+\.(?:py|md|toml))`", section):
        folders = ("", "tests/families/")
        assert "my_model" in name or any((ROOT / folder / name).is_file() for folder in folders), name
