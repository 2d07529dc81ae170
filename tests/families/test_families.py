import pytest
import torch
from families import cases, document, native
from releases import newest

import tokenprune
from tokenprune.testing.family import CHECKS

WHOLE = ".".join(map(str, newest()))  # what is about all families is about the release in which all of them are
pytestmark = pytest.mark.xdist_group("families")  # the report of a family is made once


@pytest.mark.parametrize("name", cases.CASES)
def test_family_is_proven(name):
    assert document.report(name).proven, str(document.report(name))


@pytest.mark.parametrize("name", cases.VIDEOS)
def test_family_is_proven_with_videos(name):
    said = document.report(name, videos=True)
    assert said.proven, str(said)


@pytest.mark.since(WHOLE)
def test_every_model_that_is_said_to_take_videos_is_proven_with_them():
    promised = document.promised(lambda family: family.video is not None)
    assert promised == {document.report(name, videos=True).model_type for name in cases.VIDEOS}


@pytest.mark.since(WHOLE)
def test_every_registered_model_is_proven():
    assert document.promised() == {document.report(name).model_type for name in cases.CASES}


@pytest.mark.parametrize(("every", "videos", "least"), [(cases.CASES, False, 20), (cases.VIDEOS, True, 10)])
def test_most_checks_apply(every, videos, least):
    """A check that applies to nobody proves nothing."""
    for check in CHECKS:
        passed = [name for name in every if document.report(name, videos).verdicts[check].status == "passed"]
        assert len(passed) >= least, (check, passed)


@pytest.mark.since(WHOLE)
def test_page_is_current():
    assert document.PAGE.read_text(encoding="utf-8") == document.page()


@pytest.mark.parametrize("asked", ["keep", "renumber", None])
def test_ids_that_are_places_are_kept_and_the_receipt_says_so(asked):
    model = native.qwen2_vl()
    changes = {} if asked is None else {"positions": asked}
    with tokenprune.attach(model, "divprune", budget=2, **changes) as pruned, torch.no_grad():
        model(**native.patches(model, [0]))
    assert pruned.receipt.positions == "keep"
