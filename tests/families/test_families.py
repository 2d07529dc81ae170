import pytest
from families import cases, document

from tokenprune.testing.family import CHECKS


@pytest.mark.parametrize("name", cases.CASES)
def test_family_is_proven(name):
    assert document.report(name).proven, str(document.report(name))


def test_every_registered_model_is_proven():
    assert document.promised() == {document.report(name).model_type for name in cases.CASES}


def test_most_checks_apply():
    """A check that applies to nobody proves nothing."""
    for check in CHECKS:
        passed = [name for name in cases.CASES if document.report(name).verdicts[check].status == "passed"]
        assert len(passed) >= 20, (check, passed)


def test_page_is_current():
    assert document.PAGE.read_text(encoding="utf-8") == document.page()
