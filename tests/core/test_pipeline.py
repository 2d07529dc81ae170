import re

import pydantic
import pytest
import torch
import yaml

from tokenprune import Diversifier, Pipeline, Scorer, TokenpruneError, VisualTokens, list_pipelines, load
from tokenprune.errors import MissingCue, PipelineError, PluginError
from tokenprune.registry import yaml_of
from tokenprune.tokens import top

MINIMAL = {"name": "mine", "splitter": "equal", "budget": 4}
TOKENS = VisualTokens(torch.eye(6)[None], {"cls_attention": torch.tensor([[0.1, 0.5, 0.0, 0.3, 0.05, 0.05]])})


class Reader(Diversifier):
    @property
    def reads(self):
        return frozenset({"question"})

    def choose(self, tokens, scores, kept, split):
        return top(tokens.cue("question"), split.diverse, ~kept)


class FirstChannel(Scorer):
    sign: int = 1

    def score(self, tokens):
        return self.sign * tokens.features[..., 0].float()


# --- where pipelines come from ---------------------------------------------------------------------------------------


def test_a_pipeline_comes_from_a_name_a_file_a_mapping_or_a_pipeline(tmp_path):
    named = load("fastervlm")
    path = tmp_path / "copy.yaml"
    path.write_text(yaml_of("fastervlm"))
    from_mapping = load({"name": "fastervlm", "scorer": "cls_attention", "splitter": "equal", "budget": "22.2%"})
    assert named == load(path) == load(str(path)) == from_mapping == load(named)
    (tmp_path / "copy.yml").write_text(yaml_of("fastervlm"))
    assert load(str(tmp_path / "copy.yml")) == named


def test_changes_count_as_keys_wherever_it_comes_from(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    for source in (MINIMAL, path, load(MINIMAL)):
        changed = load(source, budget=2, scorer="uniform", positions="keep")
        assert (str(changed.budget), changed.positions) == ("2", "keep")
        assert type(changed.stages[0].scorer).__name__ == "Uniform"
    assert load({"name": "mine", "splitter": "equal"}, budget=4) == load(MINIMAL)


@pytest.mark.parametrize("name", list_pipelines())
def test_a_registered_pipeline_has_its_own_name_and_survives_yaml(name, tmp_path):
    pipeline = load(name)
    assert pipeline.name == name
    (tmp_path / "again.yaml").write_text(pipeline.to_yaml())
    assert load(tmp_path / "again.yaml") == pipeline
    assert load(yaml.safe_load(pipeline.to_yaml())) == pipeline


def test_yaml_is_written_as_people_write_it():
    pipeline = load(MINIMAL, scorer={"use": "random", "seed": 3}, diversifier="max_min", budget="500 per prompt")
    assert pipeline.to_yaml() == (
        "name: mine\nscorer:\n  use: random\n  seed: 3\nsplitter: equal\ndiversifier: max_min\nbudget: 500 per prompt\n"
    )
    assert load(MINIMAL).to_yaml() == "name: mine\nsplitter: equal\nbudget: 4\n"
    assert load(MINIMAL, budget=0.111).to_yaml().endswith("budget: 11.1%\n")


def test_stages_may_be_listed():
    stage = {"scorer": "uniform", "splitter": "equal"}
    listed = load({"name": "mine", "stages": [stage], "budget": 4})
    assert listed == load(MINIMAL, scorer="uniform")
    assert load(MINIMAL).replace(stages=[stage]) == listed


def test_a_name_may_be_written_in_any_script():
    pipeline = load(MINIMAL, name="пруна 剪枝")
    assert "name: пруна 剪枝\n" in pipeline.to_yaml()
    assert load(yaml.safe_load(pipeline.to_yaml())) == pipeline


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scorrer": "random"}, "scorrer: unknown key; did you mean 'scorer'?"),
        (
            {"qqqq": 1},
            "qqqq: unknown key; there is: name, stages, budget, schedule, positions, separators, scorer, splitter,",
        ),
        ({7: 1}, "7: Keys should be strings; got 7"),
        ({"name": 3}, "name: Input should be a valid string; got 3"),
        ({"name": ""}, "name: String should have at least 1 character; got ''"),
        ({"scorer": "cls_atention"}, "scorer: no 'cls_atention' among the scorers; did you mean 'cls_attention'?"),
        ({"scorer": "equal"}, "scorer: no 'equal' among the scorers"),
        ({"scorer": 3}, "scorer: write a name, or a mapping with 'use' and settings; got 3"),
        ({"scorer": {"seed": 3}}, "write a name, or a mapping with 'use' and settings; got {'seed': 3}"),
        ({"scorer": {"use": [3]}}, "write a name, or a mapping with 'use' and settings; got {'use': [3]}"),
        ({"scorer": {"use": "random", "sed": 3}}, "settings of 'random': sed: unknown key; did you mean 'seed'?"),
        ({"scorer": {"use": "random", "seed": "x"}}, "seed: Input should be a valid integer, unable to parse string"),
        ({"scorer": {"use": "random", "seed": 1.5}}, "got a number with a fractional part; got 1.5"),
        ({"splitter": None}, "splitter: None divides nothing over rows; write equal"),
        ({"splitter": {"use": "equal", "important": 2}}, "important: Input should be less than or equal to 1; got 2"),
        ({"space": "hiden"}, "space: Input should be 'encoder', 'projected', 'hidden' or 'normed'; got 'hiden'"),
        ({"positions": "shift"}, "positions: Input should be 'keep' or 'renumber'; got 'shift'"),
        ({"budget": "150%"}, "budget: a budget of '150%': a share lies between '0%' and '100%'"),
        ({"budget": None}, "budget: write what is kept of an image, such as 64 or 11.1%"),
        ({"stages": []}, "either 'stages' or the keys of one stage (splitter), not both"),
    ],
)
def test_what_is_wrong_is_said_with_the_value_and_the_nearest_key(changes, said, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    for source in ({**MINIMAL, **changes}, path):
        with pytest.raises(PipelineError, match=re.escape(said)) as caught:
            load(source)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, TokenpruneError)


def test_a_part_of_the_wrong_kind_is_told():
    with pytest.raises(PipelineError, match=r"splitter: write a name, or a mapping .*; got FirstChannel\(sign=1\)"):
        load(MINIMAL, splitter=FirstChannel())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, ["name: is missing", "splitter: is missing", "budget: is missing"]),
        (
            {"name": 3, "budget": "x", "scorer": "y"},
            ["name: Input", "scorer: no 'y'", "splitter: is missing", "budget: can"],
        ),
        ({"name": "x", "budget": 4, "splitter": "equall"}, ["splitter: no 'equall'"]),
        (
            {"name": "x", "budget": 4, "stages": []},
            ["stages: Tuple should have at least 1 item"],
        ),
        ({"name": "x", "budget": 4, "stages": [{}]}, ["splitter: is missing"]),
        (
            {"name": "x", "budget": 4, "stages": [{"splitter": "equal"}] * 2},
            ["the pipeline: stages: one stage before the language model, and it is the first"],
        ),
        ({"name": "x", "budget": 4, "stages": 3}, ["stages: Input should be a valid tuple; got 3"]),
        (
            {"name": "x", "budget": 4, "stages": [3]},
            ["stages.0: Input should be a mapping"],
        ),
    ],
)
def test_every_mistake_is_listed(data, said):
    with pytest.raises(PipelineError) as caught:
        load(data)
    _, *lines = str(caught.value).splitlines()
    assert len(lines) == len(said), lines
    assert [part for part, line in zip(said, lines, strict=True) if not line.startswith(f"  {part}")] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds a NoneType; a pipeline maps name, scorer, ... to values"),
        ("- equal", "holds a list; a pipeline maps name, scorer, ... to values"),
        ("name: [", "is not YAML: "),
        ("name: x\nbudget: 2024-99-99", "is not YAML: month must be in 1..12"),
        ("name: !!python/object/apply:os.system ['exit 3']", "could not determine a constructor for the tag"),
        ("!!python/object:tokenprune.budget.Budget {}", "could not determine a constructor for the tag"),
        ("name: !!python/name:os.system", "could not determine a constructor for the tag"),
        ("name: x\nscorer: os.system\nsplitter: equal\nbudget: 3", "no 'os.system' among the scorers"),
        ("name: x\nscorer: tokenprune_strategies.uniform:Uniform\nsplitter: equal\nbudget: 3", "among the scorers"),
    ],
)
def test_a_file_that_is_no_pipeline_is_named(tmp_path, text, said):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(PipelineError, match=re.escape(said)) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("name: prüne".encode("latin-1"))
    for path in (tmp_path / "latin.yaml", tmp_path / "none.yaml", tmp_path):
        with pytest.raises(PipelineError, match=re.escape(f"cannot read the pipeline file {str(path)!r}: ")):
            load(path)


@pytest.mark.parametrize("source", [None, 3, ["vispruner"]])
def test_what_is_no_source_is_told(source):
    with pytest.raises(PipelineError, match=re.escape(f"a mapping or a Pipeline; got {source!r}")):
        load(source)


# --- frozen, replaced ------------------------------------------------------------------------------------------------


def test_a_pipeline_is_frozen_and_can_be_a_key():
    pipeline = load("fastervlm")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        pipeline.budget = 3
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        pipeline.stages[0].splitter.important = 0.3
    assert {pipeline: 1}[load("fastervlm")] == 1


def test_replace_gives_a_new_validated_pipeline():
    pipeline = load("fastervlm")
    changed = pipeline.replace(budget=3, splitter={"use": "equal", "important": 0.5}, diversifier="max_min")
    assert (str(changed.budget), changed.stages[0].splitter.important) == ("3", 0.5)
    assert pipeline == load("fastervlm")
    assert pipeline.replace() == pipeline
    with pytest.raises(PipelineError, match=r"'fastervlm' with budgett is not a pipeline:\n  budgett: .* 'budget'"):
        pipeline.replace(budgett=3)


def test_a_part_of_your_own_needs_no_registration_until_it_is_written_down():
    pipeline = load({**MINIMAL, "scorer": FirstChannel(sign=-1)}, budget=2).replace(budget=3)
    assert pipeline.stages[0].scorer == FirstChannel(sign=-1)
    assert pipeline.select(TOKENS).mask.int().tolist() == [[0, 1, 1, 1, 0, 0]]
    with pytest.raises(PluginError, match="Reader is not registered"):
        load(MINIMAL, diversifier=Reader()).to_yaml()
    with pytest.raises(PluginError, match="FirstChannel is not registered, so YAML cannot name it; add an entry point"):
        pipeline.to_yaml()


# --- select ----------------------------------------------------------------------------------------------------------


def test_important_ones_go_by_score_and_diverse_ones_fill_up():
    chosen = load("fastervlm", budget=3).select(TOKENS)
    assert chosen.mask.int().tolist() == [[1, 1, 0, 1, 0, 0]]
    assert not chosen.diverse.any()
    half = load("fastervlm", budget=4, splitter={"use": "equal", "important": 0.5}, diversifier="max_min").select(
        TOKENS
    )
    assert half.important.int().tolist() == [[0, 1, 0, 1, 0, 0]]
    assert half.diverse.sum() == 2


def test_without_a_diversifier_the_whole_budget_is_important():
    chosen = load("fastervlm", budget=3, splitter={"use": "equal", "important": 0.0}).select(TOKENS)
    assert chosen.important.int().tolist() == [[1, 1, 0, 1, 0, 0]]


def test_without_a_scorer_the_first_tokens_win():
    assert load(MINIMAL).select(TOKENS).mask.int().tolist() == [[1, 1, 1, 1, 0, 0]]


def test_reads_are_those_of_the_parts():
    assert load(MINIMAL).reads == frozenset()
    assert load("fastervlm").reads == load("vispruner").reads == {"cls_attention|received_attention"}
    assert load("fastervlm", diversifier=Reader()).reads == {"cls_attention|received_attention", "question"}


def test_a_missing_cue_is_an_error_and_not_a_guess():
    with pytest.raises(MissingCue, match="no cue 'cls_attention or received_attention' here; there is: none"):
        load("fastervlm").select(VisualTokens(TOKENS.features))


def test_the_model_validates_in_place_of_load():
    assert Pipeline.model_validate(MINIMAL) == load(MINIMAL)
    assert Pipeline(**MINIMAL) == load(MINIMAL)
    assert Pipeline(name="mine", stages=load(MINIMAL).stages, budget=4) == load(MINIMAL)
    assert isinstance(load("fastervlm"), Pipeline)
