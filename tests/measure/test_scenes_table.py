"""The page of the scenes table says what the record says, and the record what the answers say."""

import csv
import importlib.util
import json

import pytest
from house import ROOT
from typer.testing import CliRunner

from tokenprune import load, scenes
from tokenprune.cli import app
from tokenprune.errors import BudgetError
from tokenprune.measure.costs import Subject
from tokenprune.measure.sizes import described

HYBRIDS = sorted((ROOT / "benchmarks/scenes").glob("*.yaml"))


def script(name):
    spec = importlib.util.spec_from_file_location(f"scenes_{name}", ROOT / f"benchmarks/scenes/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return script("page")


@pytest.fixture(scope="module")
def record():
    return script("record")


@pytest.fixture
def run(tmp_path):
    """run("one", "--task", "sparse") answers four questions into a folder, which it gives back."""

    def called(name, *options):
        common = ("--questions", "4", "--budgets", "7", "--positions", "keep", "--out", str(tmp_path / name))
        found = CliRunner().invoke(app, ["eval", *options, *common])
        assert found.exit_code == 0, found.stderr
        return tmp_path / name

    return called


def test_the_page_and_the_plot_are_those_of_the_record(page):
    text = page.PAGE.read_text(encoding="utf-8")
    found = page.blocks(page.read())
    assert page.rendered(text, found) == text, "run python benchmarks/scenes/page.py"
    assert [name for name in found if f"<!-- {name} -->" not in text] == []
    assert page.fingerprint() in page.PLOT.read_text(encoding="utf-8")


def test_another_record_would_be_noticed(page):
    lines = page.read()
    cell = next(one for one in lines if one["pipeline"] == "vispruner" and one["budget"] == "11.1%")
    cell["score"] = str(float(cell["score"]) + 1)
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.rendered(text, page.blocks(lines)) != text


def test_a_record_is_whole(page):
    """A pipeline that is in it is there with every set, policy and budget, with figures or a reason."""
    lines = page.read()
    for kind in page.SETS:
        for policy in page.POLICIES:
            here = [one for one in page.pick(lines, set=kind, positions=policy) if one["budget"] in page.BUDGETS]
            names = {one["pipeline"] for one in here}
            assert {"vispruner", "random", "uniform", "pool", "downsample", "vispruner_text"} <= names
            assert sorted((one["pipeline"], one["budget"]) for one in here) == sorted(
                (name, budget) for name in names for budget in page.BUDGETS
            )
    assert all(one["score"] or one["reason"] for one in lines)
    assert sum(int(one["questions"]) for one in page.pick(lines, pipeline="all tokens")) >= 2000
    assert {one["seeds"] for one in lines if one["pipeline"] == "random"} == {"3"}


def test_folders_of_several_runs_are_one_record(record, run, tmp_path, capsys):
    folders = [
        run("sparse", "--task", "sparse", "--pipelines", "vispruner"),
        run("crowded", "--task", "crowded", "--pipelines", "vispruner,random"),
        run("more", "--task", "sparse", "--pipelines", "fastv,random,vispruner"),
    ]
    record.main(folders, tmp_path)
    assert capsys.readouterr().out == "7 lines\n"
    with (tmp_path / "scenes.csv").open(newline="") as file:
        lines = {(one["set"], one["pipeline"]): one for one in csv.DictReader(file)}
    assert list(lines) == [
        *(("sparse", name) for name in ("all tokens", "vispruner", "fastv", "random")),
        *(("crowded", name) for name in ("all tokens", "vispruner", "random")),
    ]
    ours, theirs = (float(lines["sparse", name]["score"]) for name in ("random", "vispruner"))
    assert float(lines["sparse", "random"]["against"]) == pytest.approx(ours - theirs, abs=0.01)
    assert "never averages below 32 of 256 tokens (12.5 %)" in lines["sparse", "fastv"]["reason"]
    told = json.loads((tmp_path / "scenes.json").read_text())
    assert [one["task"] for one in told["tasks"]] == ["scenes-sparse", "scenes-crowded"]
    assert (len(told["environments"]), told["settings"]["batch"]) == (1, 32)
    assert told["command"][-1] == "python benchmarks/scenes/record.py runs/sparse runs/crowded"


def test_folders_that_do_not_belong_together_are_refused(record, run, tmp_path):
    one = run("one", "--task", "sparse", "--pipelines", "none")
    other = run("other", "--task", "sparse", "--pipelines", "none", "--batch", "4")
    with pytest.raises(SystemExit, match=r"other: the settings are .*'batch': 4.* before it .*'batch': 32"):
        record.main([one, other], tmp_path)
    with pytest.raises(SystemExit, match=r"there is no results\.json in"):
        record.main([one, tmp_path], tmp_path)
    with pytest.raises(SystemExit, match="say which folders"):
        record.main([], tmp_path)


@pytest.fixture(scope="module")
def subject():
    return Subject(described(str(scenes.folder())))


@pytest.mark.parametrize("path", HYBRIDS, ids=lambda path: path.stem)
def test_combinations_reach_the_lowest_budget(subject, path):
    assert subject.pruned(load(path, budget="2.8%")).average == pytest.approx(0.028 * 256, abs=0.5)


@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "sparsevlm"])
def test_what_they_are_combined_with_does_not_alone(subject, name):
    with pytest.raises(BudgetError, match="never averages below"):
        subject.pruned(load(name, budget="11.1%"))
