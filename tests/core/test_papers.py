"""The papers of the pipelines: BibTeX that names what is registered, and agrees with what the pipelines say."""

import re
from importlib.resources import files

from tokenprune import list_pipelines
from tokenprune.registry import yaml_of

TEXT = files("tokenprune_strategies").joinpath("papers.bib").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^@\w+\{(\w+),\n(.*?)^\}$", TEXT, re.MULTILINE | re.DOTALL))
OTHERS = {"downsample", "hybrid_windows", "region"}  # they name the papers of others


def fields(entry):
    return dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.MULTILINE))


def named(key, entry):
    """Pipelines that come from a paper."""
    return [name.strip() for name in fields(entry).get("keywords", key).split(",")]


def test_every_line_of_an_entry_is_a_field():
    assert len(ENTRIES) == len(re.findall(r"^@", TEXT, re.MULTILINE))
    for key, entry in ENTRIES.items():
        assert len(fields(entry)) == len(entry.splitlines()), key
        assert {"title", "author", "year", "eprint", "archiveprefix"} <= fields(entry).keys(), key
        assert entry.count("{") == entry.count("}")
        assert key in named(key, entry)


def test_no_pipeline_has_two_papers():
    every = [name for key, entry in ENTRIES.items() for name in named(key, entry)]
    assert len(every) == len(set(every))


def test_a_pipeline_names_the_paper_that_its_entry_is_of():
    papers = {name: fields(entry)["eprint"] for key, entry in ENTRIES.items() for name in named(key, entry)}
    for name in list_pipelines():
        head = re.sub(r"\n# ", " ", yaml_of(name))
        if name in papers:
            assert f"arXiv {papers[name].removesuffix('v1')}" in head, name
        else:
            assert name in OTHERS or "arXiv" not in head, name
