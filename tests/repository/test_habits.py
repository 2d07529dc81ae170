"""The habits of the repository: what its files promise to tools and to people is true."""

import ast
import re
import shlex
import shutil
import subprocess
import tomllib

import house
import pytest
import yaml

import tokenprune

ROOT = house.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert tokenprune.__version__ == PROJECT["project"]["version"] == citation["version"]


def test_the_citation_says_what_it_must():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license"} <= set(citation)
    assert citation["license"] == PROJECT["project"]["license"]
    assert all(author for author in citation["authors"])
    for work in citation["references"]:
        assert {"type", "title", "authors"} <= set(work)


def test_the_workflow_runs_what_a_desk_runs_on_every_python_that_is_promised():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    job = workflow["jobs"]["run"]
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    promised = [line.rsplit(" ", 1)[1] for line in PROJECT["project"]["classifiers"] if "Python :: 3." in line]
    assert job["strategy"]["matrix"]["python"] == promised
    assert PROJECT["project"]["requires-python"] == f">={promised[0]}"
    assert "PYTHON ?=" in (ROOT / "Makefile").read_text()  # so that the workflow's python is taken


def test_the_run_is_a_program():
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def ran(folder, programs):
    """`.ci/run` on a machine that has these programs alone, each a line of shell."""
    bash = shutil.which("bash")
    for name, script in programs.items():
        (folder / name).write_text(f"#!{bash}\n{script}\n")
        (folder / name).chmod(0o755)
    (folder / "dirname").symlink_to(shutil.which("dirname"))
    return subprocess.run([bash, ROOT / ".ci/run"], env={"PATH": str(folder)}, capture_output=True, text=True)


ALL = {"make": 'echo make "$@"', "npm": "exit 0", "node": '[ "$1" = -e ]'}
NOT_RUN = "browser test: no node 20 with npm packages here, not run"


@pytest.mark.parametrize(
    ("programs", "last"),
    [
        (ALL, "make browser-test"),
        (ALL | {"make": 'echo make "$@"; [ "$1" != browser ]'}, NOT_RUN),
        (ALL | {"node": "exit 1"}, NOT_RUN),
        ({"make": ALL["make"], "node": "exit 0"}, NOT_RUN),
        ({"make": ALL["make"]}, NOT_RUN),
    ],
    ids=["all there", "no packages", "an old node", "no npm", "nothing"],
)
def test_the_run_opens_a_browser_where_there_is_node(tmp_path, programs, last):
    told = ran(tmp_path, programs)
    assert told.returncode == 0
    assert told.stdout.splitlines()[:3] == ["make check", "make docs", "make test"]
    assert told.stdout.splitlines()[-1] == last


def test_a_run_fails_with_its_browser_test(tmp_path):
    assert ran(tmp_path, ALL | {"make": '[ "$1" != browser-test ]'}).returncode != 0


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_runs_a_tool_that_the_setup_brings(hook):
    python, flag, tool, *rest = shlex.split(hook["entry"])
    assert (python, flag, hook["language"]) == (".venv/bin/python", "-m", "system")
    assert any(re.match(rf"{tool}\b", need) for need in PROJECT["project"]["optional-dependencies"]["test"])
    assert all((ROOT / word).exists() for word in rest if "/" in word)


def test_hooks_check_what_make_checks():
    check = re.search(r"^check:.*?\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    for tool in re.findall(r"\$\(BIN\)/(\w+ ?(?:format|check)?)", check):
        assert any(f"-m {tool.strip()}" in hook["entry"] for hook in HOOKS)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_can_be_filled_in(path):
    form = yaml.safe_load(path.read_text("utf-8"))
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids)) > 0
    for field in form["body"]:
        assert field["type"] in {"input", "textarea", "checkboxes", "dropdown"}
        assert field["attributes"]["label"]
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_there_are_forms_for_what_people_bring():
    assert {path.stem for path in FORMS} == {"bug", "model", "method"}


def test_prints_are_refused_in_the_packages():
    lint = PROJECT["tool"]["ruff"]["lint"]
    assert "T20" in lint["select"]
    for pattern, rules in lint["per-file-ignores"].items():
        outside = pattern.split("/")[0] in {"tests", "examples", "benchmarks"}
        assert outside or not any(rule.startswith("T2") for rule in rules)


def test_every_page_is_listed_once():
    listed = re.findall(r"^ +- (?:.+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md"))


def test_entry_points_are_in_order():
    groups = PROJECT["project"]["entry-points"]
    assert list(groups) == sorted(groups)
    assert {group: list(names) for group, names in groups.items()} == {group: sorted(groups[group]) for group in groups}


def loggers(root):
    """Loggers of another name than the package's, and settings of everybody's logging."""
    found = []
    for _, where, tree in house.sources(root):
        for node in ast.walk(tree):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if call.endswith("logging.basicConfig") or call.endswith("dictConfig"):
                found.append(f"{where}:{node.lineno} configures logging")
            elif call.endswith("getLogger") and [ast.unparse(one) for one in node.args] != ["'tokenprune'"]:
                found.append(f"{where}:{node.lineno} has a logger of its own")
    return found


def test_there_is_one_logger():
    assert loggers(ROOT) == []


@pytest.mark.parametrize(
    "line", ["logging.getLogger(__name__)", "logging.basicConfig()", "from logging import getLogger; getLogger()"]
)
def test_another_logger_is_noticed(tmp_path, line):
    for place in house.PACKAGES.values():
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "tokenprune/one.py").write_text("import logging\nlogging.getLogger('tokenprune')\n")
    assert loggers(tmp_path) == []
    (tmp_path / "tokenprune/other.py").write_text(f"import logging\n{line}\n")
    assert len(loggers(tmp_path)) == 1
