"""Everything that is registered, by whomever, keeps the rules; a new part is tested without touching a test."""

import pytest
import yaml

import tokenprune
from tokenprune import BudgetSplitter, Diversifier, Merger, Scorer, load, registry
from tokenprune.named import strategy_class
from tokenprune.registry import catalog, yaml_of
from tokenprune.testing import check_diversifier, check_merger, check_pipeline, check_scorer, check_splitter, variants

CHECKS = {Scorer: check_scorer, BudgetSplitter: check_splitter, Diversifier: check_diversifier, Merger: check_merger}
PARTS = [
    pytest.param(check, variant, id=f"{name}-{variant!r}")
    for kind, check in CHECKS.items()
    for name in catalog(kind.group)
    for variant in variants(strategy_class(kind, name))
]


def test_there_is_something_to_check():
    assert {type(part.values[1]).__name__ for part in PARTS} >= {
        "ClsAttention",
        "Equal",
        "SimilarityDedup",
        "MaxMin",
        "Nearest",
    }
    assert registry.broken() == {}


@pytest.mark.parametrize(("check", "part"), PARTS)
def test_a_part_keeps_the_rules(check, part):
    check(part)


@pytest.mark.parametrize("name", tokenprune.list_pipelines())
def test_a_pipeline_keeps_the_rules(name):
    check_pipeline(load(name))


@pytest.mark.parametrize("name", tokenprune.list_pipelines())
def test_a_pipeline_file_opens_with_what_it_is_and_how_to_run_it(name):
    text = yaml_of(name)
    head = text.split("name:", 1)[0]
    assert head.splitlines()[0].startswith("# ")
    assert f'"{name}"' in head
    assert yaml.safe_load(text)["name"] == name
    assert "%" in str(load(name).kept)
