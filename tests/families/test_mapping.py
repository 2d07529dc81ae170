"""Every model that transformers has for images and text is proven, refused with its reason, or said to be unknown."""

import inspect
import re
from types import SimpleNamespace

import pytest
import transformers
from families import document
from torch import nn

import tokenprune
from tokenprune.errors import RefusedFamily, UnknownFamily
from tokenprune.family import Family, family_of
from tokenprune.refusals import refusal
from tokenprune_adapters.refused import REFUSED


class Stub(nn.Module):
    """What attaching looks at before it knows the family."""

    def __init__(self, model_type):
        super().__init__()
        self.config = SimpleNamespace(model_type=model_type)

    def generate(self):
        """There has to be one."""


@pytest.mark.parametrize("name", document.mapping())
def test_an_entry_is_proven_refused_or_unknown(name):
    model = Stub(name)
    if name in document.promised():
        assert name in family_of(model).model_types
        assert name not in REFUSED
        return
    reason = refusal(name)
    said = f"'{name}') cannot be pruned: {reason}." if reason else f"no family is registered for model_type '{name}'"
    error = RefusedFamily if reason else UnknownFamily
    for ask in (lambda: tokenprune.attach(model, "divprune"), lambda: tokenprune.prune_inputs(model, {}, "divprune")):
        with pytest.raises(error, match=re.escape(said)):
            ask()
    assert vars(model).keys() == vars(Stub(name)).keys()


def test_what_takes_no_encoded_images_is_refused():
    def takes(name):
        return "mm_encoder_outputs" in inspect.signature(getattr(transformers, name).forward).parameters

    deaf = {kind for kind, name in document.mapping().items() if not takes(name)} - document.promised()
    assert len(deaf) > 10
    assert deaf <= set(REFUSED)


def test_a_model_that_cannot_generate_is_refused_for_its_own_reason():
    model = nn.Module()
    model.config = SimpleNamespace(model_type="pi0")
    with pytest.raises(RefusedFamily, match="actions of a robot"):
        tokenprune.attach(model, "divprune")


def test_only_models_that_exist_are_refused():
    assert set(REFUSED) <= set(document.mapping())


def test_every_entry_is_on_the_page():
    text = document.rest()
    for name in document.mapping().keys() - document.promised():
        assert text.count(f"`{name}`") == 1
    assert [line for line in text.splitlines() if line.startswith("- `git`: it puts the image in front")]


def test_a_family_of_somebody_else_wins_over_a_refusal(monkeypatch):
    from tokenprune import family

    mine = Family(model_types=("git",), towers={})
    monkeypatch.setattr(family, "catalog", lambda group: {"mine": ()} if group.endswith("families") else {"no": ()})
    monkeypatch.setattr(family, "resolve", lambda group, *_: mine if group.endswith("families") else {"git": "no"})
    assert family_of(Stub("git")) is mine
