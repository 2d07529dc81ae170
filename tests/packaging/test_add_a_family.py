"""The page on adding a family is followed to the letter: its files, its entry points, its test."""

import importlib
import re
import sys
import tomllib

import pytest
from house import ROOT

import tokenprune
from tokenprune import registry
from tokenprune.errors import RefusedFamily
from tokenprune.family import family_of

PAGE = (ROOT / "docs/add-a-family.md").read_text("utf-8")
FILES = dict(re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))


def entry_points():
    """What the page's tables of entry points come to in the metadata of an installed distribution."""
    lines = []
    for name in ("pyproject.toml", "refusals.toml"):
        for group, points in tomllib.loads(FILES[name])["project"]["entry-points"].items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    return "\n".join(lines)


@pytest.fixture
def followed(tmp_path, monkeypatch):
    """followed(edit) installs the page's files, as ``edit`` changes them, and gives its test module."""

    def follow(edit=lambda name, text: text):
        for name, text in FILES.items():
            (tmp_path / name).write_text(edit(name, text))
        project = tomllib.loads(FILES["pyproject.toml"])["project"]
        info = tmp_path / f"toy_vlm_family-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        (info / "entry_points.txt").write_text(entry_points())
        monkeypatch.syspath_prepend(tmp_path)
        registry.catalog.cache_clear()
        return importlib.import_module("test_toy_vlm")

    yield follow
    for name in [name for name in sys.modules if name.startswith(("toy_", "test_toy_"))]:
        del sys.modules[name]
    monkeypatch.undo()
    registry.catalog.cache_clear()


def test_the_page_holds_a_whole_package():
    named = {"toy_vlm.py", "toy_vlm_family.py", "pyproject.toml", "test_toy_vlm.py", "toy_refusals.py", "refusals.toml"}
    assert set(FILES) == named
    assert PAGE.count("```") == 2 * len(FILES)


def test_the_family_of_the_page_is_proven(followed):
    page = followed()
    assert "toy_vlm" in tokenprune.list_families()
    assert registry.broken() == {}
    page.test_toy_vlm_is_proven()


def test_what_the_page_refuses_is_refused(followed):
    page = followed()
    model = page.build()
    assert family_of(model).model_types == ("toy_vlm",)
    model.config.model_type = "toy_codes"
    with pytest.raises(RefusedFamily, match="codes of a book"):
        tokenprune.attach(model, "divprune")


@pytest.mark.parametrize(
    ("was", "wrong", "checks"),
    [
        ('towers={"siglip_vision_model": Tower()}', 'towers={"siglip_vision_model": Tower(cls="first")}', {"cue"}),
        ("layout=Tiles(grid=square)", "layout=Tiles(grid=lambda config: (4, 9))", {"place"}),
        ('projector="multi_modal_projector"', 'projector="language_model.norm"', {"features"}),
    ],
)
def test_a_family_that_says_it_wrong_is_not_proven_by_the_check_that_the_page_names(followed, was, wrong, checks):
    assert was in FILES["toy_vlm_family.py"]
    page = followed(lambda name, text: text.replace(was, wrong) if name == "toy_vlm_family.py" else text)
    report = page.check_family(page.build, page.inputs, images=2)
    assert not report.proven
    assert checks <= {name for name, one in report.verdicts.items() if one.status == "failed"}
