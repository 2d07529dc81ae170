import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenprune import list_pipelines, load
from tokenprune.errors import PipelineError
from tokenprune.registry import yaml_of
from tokenprune.validation import Mistake, check_text

WRONG = """\
# Mine
name: mine
scorrer: random
scorer: {use: random, sed: 3}
splitter:
  use: equal
  important: 2
  importnt: 3
diversifier: max_minn
space: hiden
name: again
"""


def test_every_mistake_is_told_where_it_stands():
    known = "There is: "
    found = [(one.line, one.column, one.key, one.message.split(known)[0].strip()) for one in check_text(WRONG)]
    assert found == [
        (2, 1, "budget", "is missing"),
        (3, 1, "scorrer", "unknown key; did you mean 'scorer'?"),
        (4, 23, "scorer.sed", "unknown key; did you mean 'seed'?"),
        (7, 14, "splitter.important", "Input should be less than or equal to 1; got 2"),
        (8, 3, "splitter.importnt", "unknown key; did you mean 'important'?"),
        (9, 14, "diversifier", "no 'max_minn' among the diversifiers; did you mean 'max_min'?"),
        (10, 8, "space", found[6][3]),
        (11, 1, "name", "this key stands here twice"),
    ]
    assert found[6][3].endswith("got 'hiden'")


@pytest.mark.parametrize("name", list_pipelines())
def test_what_is_registered_has_none(name):
    assert check_text(yaml_of(name)) == []


def test_stages_that_are_listed_are_told_by_number():
    text = "name: x\nbudget: 4\nstages:\n  - splitter: {use: equal, imp: 1}\n    scorer: radom\n"
    found = [(one.line, one.column, one.key) for one in check_text(text)]
    assert found == [(4, 28, "stages.0.splitter.imp"), (5, 13, "stages.0.scorer")]


def test_a_value_of_several_kinds_is_taken_for_the_nearest():
    head = "name: x\nbudget: 4\nstages:\n"
    found = check_text(f"{head}  - {{site: {{llm_layr: 3}}, splitter: equal}}\n")
    assert found == [
        Mistake(4, 12, "stages.0.site.llm_layer", "is missing"),
        Mistake(4, 13, "stages.0.site.llm_layr", "unknown key; did you mean 'llm_layer'?"),
    ]
    assert [one.message for one in check_text(f"{head}  - {{site: {{llm_layer: 3, at: 1}}}}\n")] == ["unknown key"]
    either, mapping = check_text(f"{head}  - {{site: nowhere, splitter: equal}}\n")
    assert (either.key, mapping.key) == ("stages.0.site", "stages.0.site")
    assert "'pre_llm'" in either.message
    assert mapping.message == "Input should be a mapping; got 'nowhere'"


def test_a_key_with_a_capital_is_a_key():
    (one,) = check_text("name: x\nScorer: random\nsplitter: equal\nbudget: 4\n")
    assert one == Mistake(2, 1, "Scorer", "unknown key; did you mean 'scorer'?")


def test_strategies_that_are_settings_are_looked_into():
    text = "name: x\nbudget: 4\nsplitter: equal\ndiversifier:\n  use: second_score\n  of: {use: random, sed: 1}\n"
    assert check_text(text) == [Mistake(6, 21, "diversifier.of.sed", "unknown key; did you mean 'seed'?")]


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("", (1, 1), "this file holds nothing; a pipeline maps name, scorer, ... to values"),
        ("- 1\n", (1, 1), "this file holds a list; a pipeline maps"),
        ("name: x\nscorer: {use: \n", (3, 1), "this is not YAML: "),
        ("name: a: b\n", (1, 8), "this is not YAML: mapping values are not allowed here"),
        ("x: 1\ny: !!python/object:os.system 1\n", (2, 4), "this is not YAML: could not determine a constructor"),
        ("x: 2020-99-99\n", (1, 1), "this is not YAML: month must be in 1..12"),
        ("name: x\nb: \x00\n", (2, 4), "this is not YAML: special characters are not allowed"),
    ],
)
def test_what_is_no_mapping_is_one_mistake(text, at, said):
    (one,) = check_text(text)
    assert (one.line, one.column) == at
    assert one.key == ""
    assert one.message.startswith(said)


PARTS = {
    "name": st.sampled_from(["x", "", 3, None]),
    "budget": st.sampled_from([4, "11.1%", 0, None, "x"]),
    "scorer": st.sampled_from(["random", "radom", {"use": "random", "seed": 1}, {"use": "random", "seed": "x"}, 3]),
    "splitter": st.sampled_from(["equal", {"use": "equal", "important": 0.5}, {"use": "equal", "important": 2}, None]),
    "space": st.sampled_from(["encoder", "hiden"]),
    "strange": st.integers(),
}


@given(st.fixed_dictionaries({}, optional=PARTS))
@settings(max_examples=60)
def test_a_text_without_mistakes_is_one_that_loads(data):
    text = yaml.safe_dump(data)
    found = check_text(text)
    try:
        load(yaml.safe_load(text))
    except PipelineError:
        assert found
    else:
        assert found == []
    lines = text.splitlines()
    assert found == sorted(found)
    for one in found:
        assert one.column <= len(lines[one.line - 1]) + 1
