import functools

import pytest
from families import cases

from tokenprune.registry import list_families
from tokenprune.testing import check_family


@functools.cache
def report(name):
    case = cases.CASES[name]
    return check_family(case.build, case.inputs, prompts=case.prompts, mask=case.mask, locate=case.locate)


@pytest.mark.parametrize("name", cases.CASES)
def test_family_is_proven(name):
    assert report(name).proven, str(report(name))
