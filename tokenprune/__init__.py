"""Fewer visual tokens for vision-language models, without training: prune them, keep the answer.

    with tokenprune.attach(model, "vispruner", budget=64) as pruned:
        model.generate(**inputs)
    print(pruned.receipt)

Names are loaded on first use, so that importing the package costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenprune.attach import Attachment as Attachment
    from tokenprune.attach import attach as attach
    from tokenprune.budget import Budget as Budget
    from tokenprune.errors import TokenpruneError as TokenpruneError
    from tokenprune.family import Family as Family
    from tokenprune.inputs import prune_inputs as prune_inputs
    from tokenprune.pipeline import Pipeline as Pipeline
    from tokenprune.pipeline import load as load
    from tokenprune.receipt import Receipt as Receipt
    from tokenprune.registry import list_families as list_families
    from tokenprune.registry import list_pipelines as list_pipelines
    from tokenprune.registry import list_strategies as list_strategies
    from tokenprune.selection import Merge as Merge
    from tokenprune.selection import Selection as Selection
    from tokenprune.selection import Split as Split
    from tokenprune.stage import Stage as Stage
    from tokenprune.strategy import BudgetSplitter as BudgetSplitter
    from tokenprune.strategy import Diversifier as Diversifier
    from tokenprune.strategy import Merger as Merger
    from tokenprune.strategy import Scorer as Scorer
    from tokenprune.tokens import VisualTokens as VisualTokens

_HOME = {
    "Attachment": "attach",
    "Budget": "budget",
    "BudgetSplitter": "strategy",
    "Diversifier": "strategy",
    "Family": "family",
    "Merge": "selection",
    "Merger": "strategy",
    "Pipeline": "pipeline",
    "Receipt": "receipt",
    "Scorer": "strategy",
    "Selection": "selection",
    "Split": "selection",
    "Stage": "stage",
    "TokenpruneError": "errors",
    "VisualTokens": "tokens",
    "attach": "attach",
    "list_families": "registry",
    "list_pipelines": "registry",
    "list_strategies": "registry",
    "load": "pipeline",
    "prune_inputs": "inputs",
}
__version__ = "0.1.0"
__all__ = sorted(_HOME)


if not TYPE_CHECKING:  # a type checker that sees it would take every misspelt name for an object

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'tokenprune' has no attribute {name!r}")
        value = getattr(import_module(f"tokenprune.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])


class _Package(ModuleType):
    """`attach` is a module too: the function wins, whichever is imported first."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
