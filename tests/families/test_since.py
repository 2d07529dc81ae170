"""Under a release that a family is not proven with, it is refused by name; nothing else is left out of the tests."""

import re
import tomllib

import pytest
import releases
from families import cases, document, tiles
from packaging.version import Version

import tokenprune
from tokenprune.errors import AttachError
from tokenprune.family import OLDEST, family_of
from tokenprune.inspection import inspect_model

WHOLE = ".".join(map(str, releases.newest()))
LATER = {name: case for name, case in cases.EVERY.items() if case.since != OLDEST}


def older(since):
    """The last release before one."""
    major, minor = Version(since).release
    return f"{major}.{minor - 1}.9"


@pytest.mark.parametrize("name", ["llava", *(name for name in LATER if name in cases.CASES)])
def test_attaching_under_an_older_release_is_refused_with_the_one_to_install(name, monkeypatch):
    model = cases.CASES[name].build()
    kind, since = model.config.model_type, family_of(model).since
    monkeypatch.setattr("transformers.__version__", older(since))
    said = f"under transformers {older(since)}: model_type '{kind}' is proven with transformers {since} or newer; pip"
    with pytest.raises(AttachError, match=re.escape(f"{said} install 'transformers>={since}'")):
        tokenprune.attach(model, "divprune")
    assert "generate" not in vars(model)


def test_prune_inputs_and_inspect_refuse_it_too(monkeypatch):
    model = tiles.llava()
    monkeypatch.setattr("transformers.__version__", older(OLDEST))
    with pytest.raises(AttachError, match=f"proven with transformers {OLDEST} or newer"):
        tokenprune.prune_inputs(model, tiles.CASES["llava"].inputs(model, (0,)), "divprune")
    assert f"proven with transformers {OLDEST} or newer" in inspect_model("llava").refused


@pytest.mark.parametrize("release", [OLDEST, f"{OLDEST}.0.dev0", f"{OLDEST}.3", "99.0"])
def test_the_release_itself_and_newer_ones_are_taken(release, monkeypatch):
    model = tiles.llava()
    monkeypatch.setattr("transformers.__version__", release)
    tokenprune.attach(model, "divprune").detach()


@pytest.mark.parametrize("name", LATER)
def test_what_is_left_out_does_not_exist_or_is_refused(name):
    case = LATER[name]
    try:
        model = case.build()
    except ImportError:
        assert name not in cases.CASES  # no such model in this release
        return
    if name in cases.CASES:
        tokenprune.attach(model, "divprune").detach()
        return
    with pytest.raises(AttachError, match=f"proven with transformers {case.since} or newer"):
        tokenprune.attach(model, "divprune")


@pytest.mark.since(WHOLE)
def test_families_and_their_cases_say_the_same_release():
    said = {}
    for case in LATER.values():
        model = case.build()
        family = family_of(model)
        said.setdefault(family.model_types, (family.since, {}))[1][model.config.model_type] = case.since
    for types, (since, found) in said.items():
        every = found.keys() == set(types)  # else some of its models are older
        assert since == (min(found.values(), key=Version) if every else OLDEST), types
    assert {family.model_types for family in document.families(lambda one: one.since != OLDEST)} <= said.keys()


def test_on_the_newest_release_nothing_is_left_out():
    assert all(Version(case.since).release <= releases.newest() for case in cases.EVERY.values())
    assert cases.CASES.keys() == {name for name, case in cases.EVERY.items() if releases.there(case.since)}


def test_the_oldest_release_is_the_same_everywhere():
    project = tomllib.loads((releases.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"transformers>={OLDEST}" in project["dependencies"]
    assert f"`transformers >= {OLDEST}`" in (releases.ROOT / "docs/adr/0005-transformers-floor.md").read_text("utf-8")
    assert f"| {OLDEST} or newer |" in (releases.ROOT / "README.md").read_text("utf-8")


def test_the_page_says_what_needs_a_newer_release():
    text = document.later()
    for name, case in LATER.items():
        assert re.search(rf"^- {re.escape(case.since)}: .*`{re.escape(name)}`", text, re.MULTILINE)
    assert text in document.PAGE.read_text("utf-8")
