"""``tokenprune new-strategy``: a package of one's own, complete and tested."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from tokenprune import __version__
from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import CommandError, note, print_json, reported, stdout
from tokenprune.registry import catalog

FILES = {  # where it goes: what it is made from
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "workflow.yml",
    "@package@/__init__.py": "init.py",
    "@package@/py.typed": "",
    "@package@/@name@.py": "@kind@/part.py",
    "@package@/pipelines/__init__.py": "pipelines.py",
    "@package@/pipelines/@name@.yaml": "@kind@/pipeline.yaml",
    "@package@/pipelines/papers.bib": "papers.bib",
    "tests/test_@name@.py": "@kind@/test.py",
}


class Kind(StrEnum):
    """Kinds of parts that there is a template of."""

    scorer = "scorer"
    diversifier = "diversifier"


@dataclass(frozen=True)
class Start:
    """What a new package is called in its several places."""

    name: str
    kind: Kind

    @property
    def words(self) -> dict[str, str]:
        """What stands for each word of the template."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "class": "".join(part.capitalize() for part in self.name.split("_")),
            "package": f"tokenprune_{self.name}",
            "distribution": f"tokenprune-{self.name.replace('_', '-')}",
            "version": __version__,
        }

    def filled(self, text: str) -> str:
        """A text of the template with its words put in."""
        return re.sub(r"@(\w+)@", lambda found: self.words[found[1]], text)

    def texts(self) -> dict[str, str]:
        """Every file of the package, by its path."""
        template = files("tokenprune.cli") / "template"
        texts = {}
        for path, source in FILES.items():
            text = template.joinpath(f"{self.filled(source)}.txt").read_text("utf-8") if source else ""
            texts[self.filled(path)] = self.filled(text)
        return texts


def new_strategy(
    name: Annotated[str, typer.Argument(help="What YAML will call it, as in edge_energy.", metavar="NAME")],
    kind: Annotated[Kind, typer.Option("--kind", help="What it is.")] = Kind.scorer,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder to put it in.", show_default="this one")
    ] = Path(),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a complete package with a strategy of your own, its pipeline, its tests and its CI."""
    with reported(debug):
        _check_name(name, kind)
        start = Start(name, kind)
        folder, texts = out / start.words["distribution"], start.texts()
        _write(folder, texts)
        if as_json:
            print_json({"folder": str(folder), **start.words, "files": list(texts)})
            return
        for path in texts:
            stdout().print(str(folder / path), markup=False, soft_wrap=True)
        note("next", f"cd {folder} && pip install -e '.[test]' && pytest")


def _check_name(name: str, kind: Kind) -> None:
    """See whether a strategy can be called so.

    Raises:
        CommandError: it cannot; the message says what could be.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        near = re.sub(r"[^a-z0-9]+", "_", spaced).strip("_").lstrip("0123456789_")
        hint = f"; write {near!r}" if near else ", as in 'edge_energy'"
        raise CommandError(
            f"{name!r} is no name for a strategy: lower-case letters, digits and single underscores make one{hint}"
        )
    if keyword.iskeyword(name) or name == "pipelines":
        raise CommandError(f"{name!r} means something else to Python or to the package; write {f'{name}_{kind}'!r}")
    for group in (f"tokenprune.{kind}s", "tokenprune.pipelines"):
        for point in catalog(group).get(name, ()):
            what = group.removeprefix("tokenprune.")
            raise CommandError(f"{name!r} is taken among the {what}, by {point.value}; choose another name")
    if find_spec(f"tokenprune_{name}") is not None:
        raise CommandError(f"a package tokenprune_{name} is installed already; choose another name")


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Write files into a new folder.

    Raises:
        CommandError: the folder is there already, or cannot be written.
    """
    if folder.exists():
        raise CommandError(f"there is {str(folder)!r} already; remove it, choose another name, or another --out")
    if not folder.parent.is_dir():
        raise CommandError(f"there is no folder {str(folder.parent)!r} to put it in; make it first")
    try:
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise CommandError(f"cannot write to {str(folder)!r}: {problem}") from problem
