import sys
from textwrap import dedent
from types import SimpleNamespace

import pytest
from importlib_metadata import EntryPoint

from tokenprune import registry

PLUGIN = '''
    from enum import Enum
    from typing import Callable, final

    from pydantic import BaseModel, Field
    from torch import Tensor

    from tokenprune import Diversifier, Scorer, VisualTokens


    class Way(Enum):
        UP = "up"
        DOWN = "down"


    class Depth(BaseModel, frozen=True, extra="forbid"):
        layer: int = Field(default=0, ge=0)


    @final
    class Brightness(Scorer):
        """Third-party settings: a choice, a number within bounds, a pair, and a model of their own."""

        way: Way = Way.UP
        power: float = Field(default=1.0, gt=0)
        window: tuple[int, int] = (1, 1)
        depth: Depth = Depth()

        def score(self, tokens: VisualTokens) -> Tensor:
            sign = 1 if self.way is Way.UP else -1
            return sign * tokens.features.float().abs().sum(-1) ** self.power


    @final
    class NoSchema(Scorer):
        weigh: Callable[[float], float] = abs

        def score(self, tokens: VisualTokens) -> Tensor:
            return tokens.features.float().sum(-1)


    class Unregistered(Scorer):
        power: int = 1

        def score(self, tokens: VisualTokens) -> Tensor:
            return tokens.features.float().sum(-1)
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A folder on the path with the module `planted_plugin`; write more modules into it."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "planted_plugin.py").write_text(dedent(PLUGIN))
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("planted_"):
            del sys.modules[name]


@pytest.fixture
def plant(monkeypatch):
    """Register something as another distribution would: plant("scorers", "name", "module:Class", "distribution")."""
    real, planted = registry.entry_points, []

    def entry_points(group):
        return [*real(group=group), *(point for point in planted if point.group == group)]

    def add(kind, name, value, distribution="another-package"):
        point = EntryPoint(name, value, f"tokenprune.{kind}")
        vars(point)["dist"] = distribution and SimpleNamespace(name=distribution)
        planted.append(point)
        registry.catalog.cache_clear()

    monkeypatch.setattr(registry, "entry_points", entry_points)
    yield add
    registry.catalog.cache_clear()
