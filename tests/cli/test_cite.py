import json
import re
import sys
import tomllib

import pytest
from house import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from importlib_metadata import EntryPoint

from tokenprune import list_pipelines, registry
from tokenprune.cli.bibliography import entries

BIB = """\
% @article{comment, title = {Not this one}, keywords = {planted}}
@inproceedings{planted,
  title = {A {Title} with {{two} kinds} of braces, and = signs},
  author = "Somebody, Some and Else, Any",
  year = 2025
}

@Article{shared, keywords = {planted_two, planted_three},
  title = {Shared}, year = {2024}}
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Three pipelines of another package, with their papers beside them."""
    package = tmp_path / "planted_bib" / "pipelines"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "papers.bib").write_text(BIB, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    names = ("planted", "planted_two", "planted_three", "planted_control")
    points = [EntryPoint(name, "planted_bib.pipelines", "tokenprune.pipelines") for name in names]
    real = registry.entry_points
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*real(group=group), *(p for p in points if p.group == group)]
    )
    registry.catalog.cache_clear()
    yield package
    registry.catalog.cache_clear()
    for name in [name for name in sys.modules if name.startswith("planted_bib")]:
        del sys.modules[name]


def test_the_software_is_cited_as_its_metadata_says(call):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = call("cite")
    assert (found.exit_code, found.stderr) == (0, "")
    (entry,) = entries(found.stdout)
    assert (entry.kind, entry.key) == ("software", "tokenprune")
    assert entry.fields["version"] == project["version"]
    assert entry.fields["author"] == f"{{{project['authors'][0]['name']}}}"  # braces: it is no first and last name
    assert entry.fields["license"] == project["license"]
    assert entry.fields["title"] == f"tokenprune: {project['description'].rstrip('.')}"
    assert json.loads(call("cite", "--json").stdout)[0]["bibtex"] == found.stdout.strip()


def test_a_pipeline_is_cited_by_the_key_of_its_entry(call, planted):
    found = call("cite", "planted")
    assert found.exit_code == 0
    assert found.stdout == BIB[BIB.index("@inproceedings") : BIB.index("\n@Article")]
    assert found.stderr == "note: 'tokenprune cite' without a name prints the entry of the software\n"


def test_pipelines_of_one_paper_are_cited_by_its_keywords_and_once(call, planted):
    shared = BIB[BIB.index("@Article") :]
    assert call("cite", "planted_two").stdout == shared
    assert call("cite", "planted_two", "planted_three").stdout == shared
    both = json.loads(call("cite", "planted", "planted_three", "--json").stdout)
    assert [(one["kind"], one["key"]) for one in both] == [("inproceedings", "planted"), ("article", "shared")]
    assert both[0]["fields"] == {
        "title": "A {Title} with {{two} kinds} of braces, and = signs",
        "author": "Somebody, Some and Else, Any",
        "year": "2025",
    }


def test_papers_may_lie_one_folder_above(call, planted):
    (planted / "papers.bib").rename(planted.parent / "papers.bib")
    assert call("cite", "planted").exit_code == 0


def test_a_paper_without_a_pipeline_is_found_by_its_key(call, planted):
    assert json.loads(call("cite", "shared", "--json").stdout)[0]["key"] == "shared"


def test_a_pipeline_without_a_paper_says_so(call, planted):
    found = call("cite", "planted_control")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith("error: the pipeline 'planted_control' names no paper: ")


def test_a_name_that_is_nowhere_gets_the_nearest(call):
    found = call("cite", "visprunner")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "no 'visprunner' among the pipelines; did you mean 'vispruner'?" in found.stderr


@pytest.mark.parametrize("name", list_pipelines())
def test_whatever_is_registered_is_cited_or_says_that_it_has_no_paper(call, name):
    found = call("cite", name)
    if found.exit_code == 0:
        assert all({"title", "author", "year"} <= one.fields.keys() for one in entries(found.stdout))
        assert re.search(rf"\b{name}\b", found.stdout)
    else:
        assert "names no paper" in found.stderr


def test_the_default_has_a_paper(call):
    assert json.loads(call("cite", "vispruner", "--json").stdout)[0]["fields"]["eprint"] == "2412.01818"


@given(st.text(alphabet='@{}a=," \n%', max_size=60))
@settings(max_examples=100)
def test_no_text_is_too_strange_to_be_read(text):
    for entry in entries(text):
        assert entry.text in text
        assert entry.text.startswith(f"@{entry.kind}{{{entry.key},")
