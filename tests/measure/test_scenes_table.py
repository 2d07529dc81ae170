"""The page of the scenes table says what the record says."""

import importlib.util

import pytest
from house import ROOT


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("scenes_page", ROOT / "benchmarks/scenes/page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
