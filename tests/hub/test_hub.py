import json

import pytest

import tokenprune
from tokenprune import Pipeline
from tokenprune.errors import PipelineError, PluginError
from tokenprune.hub import MOST

NAME = "somebody/mine"


@pytest.fixture
def mine():
    return tokenprune.load("vispruner", name="mine", budget="11.1%")


def test_a_pipeline_comes_back_as_it_went(hub, mine):
    address = mine.push_to_hub(NAME, token="secret")
    assert address.endswith(f"/{NAME}/commit/0123456789012345678901234567890123456789")
    assert Pipeline.from_pretrained(NAME) == mine
    assert Pipeline.from_pretrained(NAME, budget=64) == mine.replace(budget=64)


def test_yaml_and_a_page_go_there_and_nothing_else(hub, mine):
    mine.push_to_hub(NAME, token="secret")
    files = hub.repositories[NAME]
    assert set(files) == {"pipeline.yaml", "README.md"}
    assert files["pipeline.yaml"].decode() == mine.to_yaml()
    page = files["README.md"].decode()
    assert page.startswith("---\nlibrary_name: tokenprune\n")
    assert f'from_pretrained("{NAME}")' in page
    assert mine.to_yaml() in page
    assert any("tokenprune/" in agent for agent in hub.agents)


def test_results_go_beside_it(hub, mine):
    results = {"task": "scenes", "right": [0.5, 0.25]}
    mine.push_to_hub(NAME, token="secret", results=results)
    assert json.loads(hub.repositories[NAME]["results.json"]) == results


def test_a_page_that_is_there_stays(hub, mine):
    hub.repositories[NAME] = {"README.md": b"my own words"}
    mine.push_to_hub(NAME, token="secret")
    assert hub.repositories[NAME]["README.md"] == b"my own words"


def test_a_repository_is_made_as_asked(hub, mine):
    mine.push_to_hub(NAME, token="secret", private=True)
    (asked,) = hub.created
    assert (asked["organization"], asked["name"]) == ("somebody", "mine")
    assert asked.get("visibility") == "private" or asked.get("private") is True  # as older clients say it


@pytest.mark.parametrize("results", [{"loss": float("nan")}, {"model": object()}])
def test_results_that_json_cannot_hold_are_refused_before_anything_is_sent(hub, mine, results):
    with pytest.raises(ValueError, match="plain values that JSON can hold"):
        mine.push_to_hub(NAME, token="secret", results=results)
    assert hub.requests == []


def test_a_part_without_a_name_is_refused_before_anything_is_sent(hub, mine):
    class Unregistered(tokenprune.Scorer):
        def score(self, tokens):
            return tokens.features.sum(-1)

    with pytest.raises(PluginError, match="not registered"):
        mine.replace(scorer=Unregistered()).push_to_hub(NAME, token="secret")
    assert hub.requests == []


def test_one_file_is_fetched_and_no_other(hub, mine):
    hub.repositories[NAME] = {"pipeline.yaml": mine.to_yaml().encode(), "pipeline.py": b"1 / 0", "setup.py": b"1 / 0"}
    assert Pipeline.from_pretrained(NAME) == mine
    assert {path for _, path in hub.requests} == {f"/{NAME}/resolve/main/pipeline.yaml"}


def test_a_revision_is_asked_for(hub, mine):
    hub.repositories[NAME] = {"pipeline.yaml": mine.to_yaml().encode()}
    Pipeline.from_pretrained(NAME, revision="v2")
    assert {path for _, path in hub.requests} == {f"/{NAME}/resolve/v2/pipeline.yaml"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nscorer: nobodys_scorer\nsplitter: equal\nbudget: 4\n", "no 'nobodys_scorer' among the scorers"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor for the tag"),
        ("name: x\n" + "#" * MOST, "no pipeline is that large"),
    ],
)
def test_what_is_no_pipeline_is_refused(hub, text, said):
    hub.repositories[NAME] = {"pipeline.yaml": text.encode()}
    with pytest.raises(PipelineError, match=said):
        Pipeline.from_pretrained(NAME)


@pytest.mark.parametrize("name", ["somebody/else", "not a/name/at all"])
def test_a_repository_without_one_is_an_error(hub, name):
    with pytest.raises(
        PipelineError, match=f"cannot get pipeline.yaml from the hub repository '{name}', and there is no"
    ):
        Pipeline.from_pretrained(name)


def test_a_folder_is_read_without_a_hub(tmp_path, mine, hub):
    (tmp_path / "pipeline.yaml").write_text(mine.to_yaml(), encoding="utf-8")
    assert Pipeline.from_pretrained(tmp_path) == mine
    (tmp_path / "pipeline.yaml").unlink()
    with pytest.raises(PipelineError, match="cannot read the pipeline file"):
        Pipeline.from_pretrained(tmp_path)
    assert hub.requests == []
