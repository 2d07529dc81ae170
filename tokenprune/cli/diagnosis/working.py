"""Whether it works: every plug-in, and the embedded model with few of its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from importlib_metadata import EntryPoint
from packaging.version import Version

from tokenprune import registry
from tokenprune.cli.diagnosis.finding import Finding
from tokenprune.cli.diagnosis.installed import DISTRIBUTION

BUDGET = 28  # of 256 tokens


def plug_ins() -> Iterator[Finding]:
    """What is registered, by whom, and what of it cannot be used."""
    wrong = registry.broken()
    for label, reason in wrong.items():
        kind, name = label.split(":", 1)
        whose = " or ".join(sorted({_owner(point) for point in registry.catalog(f"tokenprune.{kind}")[name]}))
        yield Finding(f"{kind} {name}", "broken", reason, f"mend or uninstall {whose}")
    owners: dict[str, int] = {}
    for group in registry.GROUPS:
        for name, points in registry.catalog(group).items():
            if f"{group.removeprefix('tokenprune.')}:{name}" not in wrong:
                owners[_owner(points[0])] = owners.get(_owner(points[0]), 0) + 1
    for owner, count in sorted(owners.items(), key=lambda pair: (pair[0] != DISTRIBUTION, pair[0])):
        yield Finding("plug-ins", "fine", f"{owner}: {count} names work")


def families() -> Iterator[Finding]:
    """Families that are proven with a newer transformers than this one."""
    from transformers import __version__

    wrong, here = registry.broken(), Version(__version__).release
    since = {name: _since(name) for name in registry.list_families() if f"families:{name}" not in wrong}
    if newer := {name: one for name, one in since.items() if Version(one).release > here}:
        told = f"transformers {__version__} is too old for {', '.join(newer)}"
        yield Finding("families", "note", told, f'pip install "transformers>={max(newer.values(), key=Version)}"')


def _since(family: str) -> str:
    """The oldest transformers release that a family is proven with."""
    from tokenprune.family import Family

    found = registry.resolve("tokenprune.families", family, lambda it: isinstance(it, Family), "a tokenprune.Family")
    assert isinstance(found, Family)
    return found.since


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"


def embedded_model() -> Iterator[Finding]:
    """One question to the embedded model on the device that `tokenprune run` takes, with few of its tokens."""
    import torch

    from tokenprune.cli.models import checked_device, quiet_transformers

    device, threads = checked_device(None), torch.get_num_threads()
    torch.set_num_threads(1)  # a model this small is slower on many
    try:
        with quiet_transformers():
            yield _asked(device)
    finally:
        torch.set_num_threads(threads)


def _asked(device: Any) -> Finding:
    from tokenprune import scenes
    from tokenprune.cli.asking import ask_both
    from tokenprune.pipeline import load

    model, processor = scenes.load()
    scene = scenes.draw(0)
    question = scene.questions(scene.seed)[0]
    both = ask_both(model.to(device), processor, load("vispruner", budget=BUDGET), scene.image, question.text)
    kept, there = both.receipt.after, both.receipt.before
    found = f"keeps {kept} of {there} tokens on {device}"
    if kept == BUDGET and both.full.text == question.answer:
        return Finding("embedded model", "fine", found)
    told = f"{found}, where {BUDGET} was asked for; with all it says {both.full.text!r} for {question.answer!r}"
    return Finding("embedded model", "broken", told, "run 'tokenprune demo --debug'")
