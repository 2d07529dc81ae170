"""What is installed here, what this machine gives, and what stands in the way; each with its remedy.

from tokenprune.cli.diagnosis import diagnose

for finding in diagnose():
    print(finding)
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from tokenprune.cli.diagnosis.finding import Finding

__all__ = ["Finding", "diagnose"]

CHECKS = (  # module, function: each is looked up when its turn comes, so that a broken one leaves the others alone
    ("installed", "interpreter"),
    ("installed", "package"),
    ("installed", "rival"),
    ("installed", "requirements"),
    ("installed", "model_library"),
    ("machine", "devices"),
    ("machine", "threads"),
    ("machine", "attention"),
    ("machine", "image_processors"),
    ("machine", "offline"),
    ("working", "plug_ins"),
    ("working", "families"),
    ("working", "embedded_model"),
)


def diagnose() -> Iterator[Finding]:
    """Every finding, in the order in which one would look. Imports torch, transformers and every plug-in; seconds."""
    for module, check in CHECKS:
        try:
            yield from getattr(import_module(f"tokenprune.cli.diagnosis.{module}"), check)()
        except Exception as problem:  # whatever is wrong here is what is looked for
            first = str(problem).strip().split("\n")[0]
            name = check.replace("_", " ")
            yield Finding(name, "broken", f"{type(problem).__name__}: {first}", "mend what stands above first")
