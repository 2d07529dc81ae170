"""Names to objects, through entry points only; the built-ins come the same way."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib.resources import files

from importlib_metadata import EntryPoint, entry_points

from tokenprune.errors import BrokenPlugin, ConflictingNames, TokenpruneError, UnknownName

_KINDS = ("scorers", "splitters", "diversifiers", "mergers", "pipelines", "families", "refusals")
GROUPS = tuple(f"tokenprune.{kind}" for kind in _KINDS)


@cache
def catalog(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Every name in ``group`` with the entry points that claim it: one, unless distributions conflict."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        found.setdefault(point.name, []).append(point)
    return {name: tuple(points if len(points) == 1 else _distinct(points)) for name, points in found.items()}


def _distinct(points: list[EntryPoint]) -> Iterable[EntryPoint]:
    """One distribution may be seen twice, as a checkout and its editable install: that is no conflict."""
    return {(_origin(point), point.value): point for point in points}.values()


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"


def suggest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def find(group: str, name: str) -> EntryPoint:
    """The one entry point called ``name``.

    Raises:
        UnknownName: there is none.
        ConflictingNames: several distributions claim the name.
    """
    known = catalog(group)
    kind = group.removeprefix("tokenprune.")
    if name not in known:
        hint = suggest(name, known)
        raise UnknownName(f"no {name!r} among the {kind}{hint or '.'} There is: {', '.join(known) or 'none'}")
    points = known[name]
    if len(points) > 1:
        claims = " and ".join(f"{_origin(point)} ({point.value})" for point in points)
        raise ConflictingNames(f"the name {name!r} among the {kind} is claimed by {claims}; uninstall one of them")
    return points[0]


def resolve(group: str, name: str, fits: Callable[[object], bool], wanted: str) -> object:
    """Import the object called ``name``.

    Args:
        group: the entry-point group.
        name: the entry point's name.
        fits: whether a loaded object is the right kind.
        wanted: that kind, in words.

    Raises:
        UnknownName: there is none.
        ConflictingNames: several distributions claim the name.
        BrokenPlugin: it raises on import, or is the wrong kind of object.
    """
    point = find(group, name)
    try:
        found = point.load()
    except Exception as problem:  # a plug-in may raise anything at all
        raise BrokenPlugin(
            f"{name!r} from {_origin(point)} ({point.value}) cannot be imported: {type(problem).__name__}: {problem}"
        ) from problem
    if not fits(found):
        raise BrokenPlugin(f"{name!r} from {_origin(point)} ({point.value}) is {found!r}; {group} needs {wanted}")
    return found


def yaml_of(name: str) -> str:
    """The YAML text of a registered pipeline, comments included."""
    package = find("tokenprune.pipelines", name).value
    try:
        return files(package).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    except Exception as problem:  # a plug-in may raise anything at all
        said = f"{type(problem).__name__}: {problem}"
        raise BrokenPlugin(f"the pipeline {name!r} is registered to {package!r}, where {said}") from problem


def list_strategies() -> dict[str, list[str]]:
    """Names of the scorers, splitters, diversifiers and mergers that are installed. Imports none of them."""
    return {group.removeprefix("tokenprune."): list(catalog(group)) for group in GROUPS[:4]}


def list_pipelines() -> list[str]:
    """Names of the pipelines that are installed."""
    return list(catalog("tokenprune.pipelines"))


def list_families() -> list[str]:
    """Names of the model families that are installed."""
    return list(catalog("tokenprune.families"))


def broken() -> dict[str, str]:
    """Every plug-in that cannot be used, as ``"scorers:name"``, and why. Imports them all, models' families too."""
    from tokenprune.family import Family  # here, because these modules read the registry
    from tokenprune.named import strategy_class
    from tokenprune.pipeline import load
    from tokenprune.refusals import is_table
    from tokenprune.strategy import BudgetSplitter, Diversifier, Merger, Scorer

    def family(name: str) -> object:
        return resolve("tokenprune.families", name, lambda found: isinstance(found, Family), "a tokenprune.Family")

    def table(name: str) -> object:
        return resolve("tokenprune.refusals", name, is_table, "a mapping of model types to reasons")

    probes: dict[str, Callable[[str], object]] = {"tokenprune.pipelines": load, "tokenprune.families": family}
    probes["tokenprune.refusals"] = table
    probes |= {kind.group: partial(strategy_class, kind) for kind in (Scorer, BudgetSplitter, Diversifier, Merger)}
    reasons = {}
    for group in GROUPS:
        for name in catalog(group):
            try:
                probes[group](name)
            except TokenpruneError as problem:
                reasons[f"{group.removeprefix('tokenprune.')}:{name}"] = str(problem)
    return reasons
