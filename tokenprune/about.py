"""What a pipeline or a part is, told from its own code: its formula, what it reads, its settings, its paper."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from tokenprune.cue_names import LLM_CUES, OF_LAYER, PREVIOUS
from tokenprune.errors import TokenpruneError
from tokenprune.family import Family, Tower
from tokenprune.listen import cues_of
from tokenprune.named import name_of, strategy_class
from tokenprune.pipeline import Pipeline
from tokenprune.registry import list_families, list_strategies, resolve
from tokenprune.settings import Setting, docstring
from tokenprune.stage import Stage
from tokenprune.strategy import BudgetSplitter, Diversifier, Merger, Scorer, Strategy
from tokenprune.tokens import PIXELS, SPACES, TEXT

KINDS: dict[str, type[Strategy]] = {
    "scorers": Scorer,
    "splitters": BudgetSplitter,
    "diversifiers": Diversifier,
    "mergers": Merger,
}


@dataclass(frozen=True)
class Part:
    """A strategy.

    Args:
        kind: ``scorers``, ``splitters``, ``diversifiers`` or ``mergers``.
        name: that it is registered under.
        source: the first line of its module, which names its paper.
        formula: what it does.
        reads: cues of the part with its defaults; ``a|b``: the first that is there.
        settings: in their order.
    """

    kind: str
    name: str
    source: str
    formula: str
    reads: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Given:
    """Which of the registered families give what is read.

    Args:
        families: names; a family that gives it with some of its encoders only has their types behind its name.
        without: the others.
    """

    families: tuple[str, ...]
    without: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        total = len(self.families) + len(self.without)
        if not self.without:
            return f"all {total} families"
        if not self.families:
            return f"none of {total} families"
        few, many = f"{len(self.families)} of {total} families", f"all but {', '.join(self.without)}"
        return f"{few}: {', '.join(self.families) if len(self.families) <= len(self.without) else many}"


def part(kind: str, name: str) -> Part:
    """The strategy registered under a name.

    Raises:
        UnknownName, ConflictingNames, BrokenPlugin: as in `tokenprune.registry.resolve`.
    """
    cls = strategy_class(KINDS[kind], name)
    told, meanings = docstring(cls)
    settings = tuple(Setting.of(one, info, meanings.get(one, "")) for one, info in cls.model_fields.items())
    source = (inspect.getdoc(sys.modules[cls.__module__]) or "").split("\n", 1)[0]
    return Part(kind, name, source, told, _reads(cls), settings)


def parts() -> Iterator[Part]:
    """Every strategy that is installed and works."""
    for kind, names in list_strategies().items():
        yield from (part(kind, name) for name in names)


def parts_of(pipeline: Pipeline) -> list[Part]:
    """The strategies of a pipeline, in order, each once; settings of it that are strategies come behind it."""
    every = (inner for stage in pipeline.stages for outer in stage.parts for inner in _within(stage, outer))
    found = (part(one.group.removeprefix("tokenprune."), name_of(one)) for one in every)
    return list(dict.fromkeys(found))


def families_giving(wish: str) -> Given:
    """Which families give the first of some cues that is there, ``a|b``."""
    found: dict[str, str | None] = {}
    for name in list_families():
        try:
            family = resolve("tokenprune.families", name, lambda it: isinstance(it, Family), "a tokenprune.Family")
        except TokenpruneError:
            continue
        assert isinstance(family, Family)
        towers = family.towers or {"": Tower(attention=())}  # patches are projected as they are
        some = [kind for kind, tower in towers.items() if any(_gives(family, tower, one) for one in wish.split("|"))]
        found[name] = None if not some else name if len(some) == len(towers) else f"{name} ({', '.join(some)})"
    return Given(
        tuple(said for said in found.values() if said), tuple(name for name, said in found.items() if said is None)
    )


def _gives(family: Family, tower: Tower, cue: str) -> bool:
    """Whether a model of the family with this encoder gives a cue, as far as the family declares it."""
    kind, _, where = cue.partition("@")
    if kind == PREVIOUS:
        return True
    if where in ("previous", "this") or kind in LLM_CUES - OF_LAYER:
        return family.cross is None and not family.inside
    if kind == PIXELS:
        return bool(tower.patches)
    return kind.partition(":")[0] in cues_of(tower) or (kind in TEXT | SPACES and family.cross is None)


def _within(stage: Stage, outer: Strategy) -> Iterator[Strategy]:
    yield outer
    for _, value in outer:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Strategy):
                yield from _within(stage, one)


def _reads(cls: type[Strategy]) -> tuple[str, ...]:
    try:
        return tuple(sorted(cls().reads))
    except ValidationError:  # it has a setting without a default
        return ()
