"""The pages name every part that is registered."""

import re

import pytest
from house import ROOT

from tokenprune.registry import catalog

GROUPS = [f"tokenprune.{kind}" for kind in ("scorers", "splitters", "diversifiers", "mergers")]
PARTS = {point.name: point.value for group in GROUPS for (point,) in catalog(group).values()}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_has_its_place_on_the_api_page(name):
    module, _, part = PARTS[name].partition(":")
    page = (ROOT / "docs/api.md").read_text("utf-8")
    assert re.search(rf"^::: {re.escape(module)}\.{part}$", page, re.MULTILINE), f"::: {module}.{part}"


@pytest.mark.parametrize("name", PARTS)
def test_a_part_has_a_line_where_strategies_are(name):
    module = PARTS[name].partition(":")[0].rsplit(".", 1)[1]
    assert f"`{module}.py`" in (ROOT / "strategies/README.md").read_text("utf-8")
