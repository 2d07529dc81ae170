"""The page of fidelity says what the comparisons find, and a module is all that a method needs to be on it."""

import pytest
from golden import document
from golden.fidelity import Fidelity
from golden.unrecorded import UNRECORDED, WITHOUT

from tokenprune import list_pipelines

pytestmark = pytest.mark.xdist_group("golden")


def test_the_page_is_current():
    assert document.PAGE.read_text(encoding="utf-8") == document.page()


def test_every_recording_is_on_the_page():
    recorded = {path.stem for path in (document.HERE.parents[1] / "data/golden").glob("*.json")}
    assert {fidelity.method for fidelity in document.told()} == recorded


def test_every_pipeline_has_a_place_on_the_page():
    told = [name for fidelity in document.told() for name in fidelity.pipelines]
    assert set(list_pipelines()) <= {*told, *UNRECORDED, *WITHOUT}
    assert set(told) <= set(list_pipelines())


def test_a_case_that_disagrees_is_counted_as_such():
    made = Fidelity("made", (), "", {"parity": (lambda name: len(name) % 2 == 0, ["ab", "abc", "abcd"])})
    assert made.count("parity") == (2, 3)
    assert list(document.counts(made)) == [["made", "parity", "2 of 3"]]


def test_a_comparison_runs_once():
    calls = []
    made = Fidelity("once", (), "", {"it": (calls.append, ["a"])})
    assert not made.holds("it", "a")
    assert not made.holds("it", "a")
    assert calls == ["a"]
    with pytest.raises(AssertionError, match="b is not one of the cases"):
        made.holds("it", "b")
