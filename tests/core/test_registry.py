import re

import pytest
import torch

import tokenprune
from tokenprune import Pipeline, Scorer, VisualTokens, load, registry
from tokenprune.errors import BrokenPlugin, ConflictingNames, PipelineError, PluginError, UnknownName
from tokenprune.named import strategy_class
from tokenprune.refusals import refusal
from tokenprune.registry import yaml_of
from tokenprune.testing import check_scorer

MAPPING = {"name": "mine", "splitter": "equal", "budget": 4}


def test_the_built_in_parts_come_through_entry_points():
    for group in registry.GROUPS:
        assert registry.catalog(group)
        origins = {point.dist.name for points in registry.catalog(group).values() for point in points}
        assert "tokenprune-vlm" in origins
    assert tokenprune.list_pipelines() == sorted(tokenprune.list_pipelines())
    assert "vispruner" in tokenprune.list_pipelines()
    assert set(tokenprune.list_strategies()) == {"scorers", "splitters", "diversifiers", "mergers"}
    assert "cls_attention" in tokenprune.list_strategies()["scorers"]
    assert "llava" in tokenprune.list_families()


def test_nothing_that_is_shipped_is_broken():
    assert registry.broken() == {}


def test_a_plug_in_is_listed_and_used_by_name(plant, plugin):
    plant("scorers", "brightness", "planted_plugin:Brightness")
    assert "brightness" in tokenprune.list_strategies()["scorers"]
    pipeline = load({**MAPPING, "scorer": {"use": "brightness", "power": 2}})
    assert pipeline.stages[0].scorer.power == 2
    check_scorer(pipeline.stages[0].scorer, examples=5)


def test_listing_imports_nothing(plant):
    plant("scorers", "raises", "planted_missing:Scorer")
    assert "raises" in tokenprune.list_strategies()["scorers"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "cls_atention",
            "no 'cls_atention' among the scorers; did you mean 'cls_attention'? There is: attention_received,",
        ),
        ("zzz", "no 'zzz' among the scorers. There is: attention_received,"),
        ("", "no '' among the scorers. There is: attention_received,"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, said):
    with pytest.raises(UnknownName, match=re.escape(said)) as caught:
        strategy_class(Scorer, name)
    assert isinstance(caught.value, LookupError)


def test_an_empty_group_says_so():
    with pytest.raises(UnknownName, match=re.escape("no 'x' among the nothings. There is: none")):
        registry.find("tokenprune.nothings", "x")


def test_an_unknown_pipeline_gets_the_nearest():
    with pytest.raises(UnknownName, match="no 'vispruned' among the pipelines; did you mean 'vispruner'"):
        load("vispruned")


def test_two_claims_on_one_name_name_both_and_harm_nobody_else(plant, plugin):
    plant("scorers", "cls_attention", "planted_plugin:Brightness", "rival-package")
    with pytest.raises(ConflictingNames) as caught:
        strategy_class(Scorer, "cls_attention")
    assert str(caught.value) == (
        "the name 'cls_attention' among the scorers is claimed by tokenprune-vlm (tokenprune_strategies.cls_attention:"
        "ClsAttention) and rival-package (planted_plugin:Brightness); uninstall one of them"
    )
    with pytest.raises(PipelineError, match=r"claimed by tokenprune-vlm .* and rival-package"):
        load("fastervlm")
    assert load("random", budget=3).select(VisualTokens(torch.zeros(1, 6, 2))).counts.tolist() == [3]
    reads = {f"pipelines:{name}" for name in tokenprune.list_pipelines() if "cls_attention" in yaml_of(name)}
    assert reads >= {"pipelines:fastervlm", "pipelines:vispruner"}
    assert set(registry.broken()) == {"scorers:cls_attention"} | reads


def test_a_conflict_of_pipelines_names_both(plant):
    plant("pipelines", "fastervlm", "planted_pipelines", "rival-package")
    with pytest.raises(ConflictingNames, match=r"'fastervlm' among the pipelines is claimed by .* and rival-package"):
        load("fastervlm")


def test_the_same_distribution_seen_twice_is_no_conflict(plant):
    plant("scorers", "random", "tokenprune_strategies.random_scores:RandomScores", "tokenprune-vlm")
    assert strategy_class(Scorer, "random").__name__ == "RandomScores"


def test_an_entry_point_of_nobody_is_named_as_such(plant, plugin):
    plant("scorers", "random", "planted_plugin:Brightness", None)
    with pytest.raises(ConflictingNames, match="and an unknown distribution \\(planted_plugin:Brightness\\)"):
        strategy_class(Scorer, "random")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("planted_missing:Scorer", "cannot be imported: ModuleNotFoundError: No module named 'planted_missing'"),
        ("planted_raises:Scorer", "cannot be imported: ZeroDivisionError: on import"),
        ("planted_plugin:Nothing", "cannot be imported: AttributeError: module 'planted_plugin' has no attribute"),
        (
            "planted_plugin:Depth",
            "is <class 'planted_plugin.Depth'>; tokenprune.scorers needs a subclass of",
        ),
        ("planted_plugin:PLAIN", "is 3; tokenprune.scorers needs a subclass of tokenprune.Scorer"),
        ("planted_plugin", "is <module 'planted_plugin'"),
        ("tokenprune_strategies.equal:Equal", "Equal'>; tokenprune.scorers needs a subclass of tokenprune.Scorer"),
    ],
)
def test_a_broken_plug_in_is_named_with_its_reason_and_harms_nobody_else(plant, plugin, value, said):
    (plugin / "planted_raises.py").write_text("raise ZeroDivisionError('on import')")
    with (plugin / "planted_plugin.py").open("a") as module:
        module.write("\nPLAIN = 3\n")
    plant("scorers", "wrong", value, "odd-package")
    with pytest.raises(BrokenPlugin, match=re.escape(said)) as caught:
        strategy_class(Scorer, "wrong")
    assert f"'wrong' from odd-package ({value})" in str(caught.value)
    assert registry.broken() == {"scorers:wrong": str(caught.value)}
    with pytest.raises(PipelineError, match=re.escape(said)):
        load({**MAPPING, "scorer": "wrong"})
    assert load("fastervlm").name == "fastervlm"
    options = str(Pipeline.model_json_schema())
    assert "cls_attention" in options
    assert "'const': 'wrong'" not in options


def test_a_broken_family_is_listed_with_its_reason(plant, plugin):
    plant("families", "odd", "planted_plugin:Way")
    assert "needs a tokenprune.Family" in registry.broken()["families:odd"]


def _package(plugin, code="", **yaml):
    (plugin / "planted_pipelines").mkdir()
    (plugin / "planted_pipelines" / "__init__.py").write_text(code)
    for name, text in yaml.items():
        (plugin / "planted_pipelines" / f"{name}.yaml").write_text(text)


def test_a_package_of_pipelines_is_used_by_name(plant, plugin):
    _package(plugin, mine="name: mine\nsplitter: equal\nbudget: 3")
    plant("pipelines", "mine", "planted_pipelines")
    assert load("mine", budget=5).budget.resolve(576) == 5


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "where FileNotFoundError: "),
        ("raise ZeroDivisionError('on import')", "where ZeroDivisionError: on import"),
    ],
)
def test_a_package_that_does_not_give_its_pipeline_says_so(plant, plugin, code, said):
    _package(plugin, code)
    plant("pipelines", "mine", "planted_pipelines")
    with pytest.raises(
        PluginError, match=re.escape(f"the pipeline 'mine' is registered to 'planted_pipelines', {said}")
    ):
        load("mine")
    assert list(registry.broken()) == ["pipelines:mine"]


def test_a_registered_pipeline_that_does_not_validate_is_broken(plant, plugin):
    _package(plugin, mine="name: mine\nsplitter: equall\nbudget: 3")
    plant("pipelines", "mine", "planted_pipelines")
    assert "did you mean 'equal'?" in registry.broken()["pipelines:mine"]


def test_a_table_of_refusals_is_read_and_a_broken_one_harms_nobody(plant, plugin):
    with (plugin / "planted_plugin.py").open("a") as module:
        module.write("\nNO = {'planted': 'it is planted'}\nWRONG = {'planted': 3}\n")
    plant("refusals", "a_wrong_one", "planted_plugin:WRONG")
    plant("refusals", "mine", "planted_plugin:NO")
    assert refusal("planted") == "it is planted"
    assert refusal("unheard") is None
    assert "needs a mapping of model types to reasons" in registry.broken()["refusals:a_wrong_one"]
    assert list(registry.broken()) == ["refusals:a_wrong_one"]
