"""The page of errors: every class is there, under its own parent, and says what the page quotes."""

import inspect
import re
from copy import deepcopy

import pytest
import torch
from house import ROOT
from importlib_metadata import EntryPoint

import tokenprune
from tokenprune import BudgetSplitter, Scorer, Split, errors, registry

ROW = re.compile(r"^\| `(\w+)` \(?(?:`(\w+)`)?\)? *\| `(.+?)` \|", re.MULTILINE)
ROWS = {name: (parent, said) for name, parent, said in ROW.findall((ROOT / "docs/errors.md").read_text("utf-8"))}
CLASSES = dict(inspect.getmembers(errors, inspect.isclass))


class Unregistered(Scorer):
    def score(self, tokens):
        return tokens.features.sum(-1)


class Everything(BudgetSplitter):
    def split(self, tokens, scores, budget):
        return Split(tokens.counts, tokens.counts * 0)


def claim(monkeypatch, *values):
    points = tuple(EntryPoint("mine", value, "tokenprune.scorers") for value in values)
    monkeypatch.setattr(registry, "catalog", lambda group: {"mine": points})
    registry.resolve("tokenprune.scorers", "mine", callable, "a scorer")


def of_type(model, name):
    other = deepcopy(model)
    other.config.model_type = name
    tokenprune.attach(other)


def embedded(model, **options):
    with tokenprune.attach(model, **options):
        model(inputs_embeds=torch.zeros(1, 3, 128))


def twice(model):
    with tokenprune.attach(model):
        tokenprune.attach(model, "divprune")


def copied(model):
    with tokenprune.attach(model):
        deepcopy(model)


def kept_whole(model, inputs):
    with tokenprune.attach(model, splitter=Everything(), budget=3):
        model(**inputs)


PROVOKED = {
    "BudgetError": lambda names, _: tokenprune.Budget.parse(1.0),
    "PipelineError": lambda names, _: tokenprune.load("vispruner", budgt=64),
    "UnknownName": lambda names, _: tokenprune.load("vispuner"),
    "PluginError": lambda names, _: tokenprune.load("vispruner", scorer=Unregistered()).to_yaml(),
    "ConflictingNames": lambda names, patch: claim(patch, "one:Scorer", "another:Scorer"),
    "BrokenPlugin": lambda names, patch: claim(patch, "no_such_module:Scorer"),
    "MissingCue": lambda names, _: tokenprune.attach(names["model"], scorer={"use": "cls_attention", "layer": 9}),
    "AttachError": lambda names, _: tokenprune.attach(torch.nn.Linear(1, 1)),
    "UnknownFamily": lambda names, _: of_type(names["model"], "llama"),
    "RefusedFamily": lambda names, _: of_type(names["model"], "kosmos-2"),
    "AlreadyAttached": lambda names, _: twice(names["model"]),
    "UnsupportedMode": lambda names, _: copied(names["model"]),
    "NothingPruned": lambda names, _: embedded(names["model"], strict=True),
    "NothingPrunedWarning": lambda names, _: kept_whole(names["model"], names["inputs"]),
    "UnprunedInputWarning": lambda names, _: embedded(names["model"]),
}


def test_every_error_has_a_row():
    assert {*ROWS, "TokenpruneError"} == set(CLASSES)
    assert set(PROVOKED) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_its_parent_is_the_one_in_brackets(name):
    bases = [base.__name__ for base in CLASSES[name].__bases__]
    assert bases[-1] == (ROWS[name][0] or "TokenpruneError")


@pytest.mark.parametrize("name", ROWS)
def test_it_says_what_the_page_quotes(name, names, monkeypatch):
    said = re.escape(ROWS[name][1])
    expect = pytest.warns if issubclass(CLASSES[name], Warning) else pytest.raises
    with expect(CLASSES[name], match=said) as told:
        PROVOKED[name](names, monkeypatch)
    assert not isinstance(told, pytest.ExceptionInfo) or told.type is CLASSES[name]
