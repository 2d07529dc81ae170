"""What is installed: versions, and packages that get in each other's way."""

from __future__ import annotations

import json
import platform
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement
from packaging.version import Version

import tokenprune
from tokenprune.cli.diagnosis.finding import Finding

DISTRIBUTION = "tokenprune-vlm"
RIVAL = "tokenprune"  # an unrelated package, which installs the same import name
TESTED = {"python": "3.13", "torch": "2.13", "transformers": "5.23"}  # up to which the tests ran


def interpreter() -> Iterator[Finding]:
    """Python."""
    yield _against_tested("python", platform.python_version())


def package() -> Iterator[Finding]:
    """This package, its metadata, and entry points that the metadata lacks."""
    name, reinstall = "tokenprune", "pip install --force-reinstall --no-deps"
    try:
        found = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        lacks = f"{tokenprune.__version__}, but no distribution {DISTRIBUTION} is installed: no strategy has a name"
        yield Finding(name, "broken", lacks, f"pip install {DISTRIBUTION}, or pip install -e . in the checkout")
        return
    here, source = Path(tokenprune.__file__).parent, _editable(found)
    if found.version != tokenprune.__version__:
        differs = f"{tokenprune.__version__} at {_brief(here)}, but the metadata is of {found.version}"
        yield Finding(name, "broken", differs, f"{reinstall} {f'-e {source}' if source else DISTRIBUTION}")
    elif source is not None and (new := _entry_points(source) - {(p.group, p.name) for p in found.entry_points}):
        some = ", ".join(sorted(point for _, point in new)[:5])
        yield Finding(name, "broken", f"pyproject.toml registers what the metadata lacks: {some}", f"{reinstall} -e .")
    else:
        yield Finding(name, "fine", f"{found.version} at {_brief(here)}")


def rival() -> Iterator[Finding]:
    """The unrelated package that installs the same import name."""
    try:
        found = distribution(RIVAL)
    except PackageNotFoundError:
        return
    mixed = f"the unrelated package {RIVAL!r} {found.version} writes to the same folder as {DISTRIBUTION}"
    again = f"pip uninstall -y {RIVAL} && pip install --force-reinstall --no-deps {DISTRIBUTION}"
    yield Finding("name clash", "broken", mixed, again)


def requirements() -> Iterator[Finding]:
    """What this package needs, where it is missing or too old."""
    try:
        needed = [Requirement(line) for line in distribution(DISTRIBUTION).requires or []]
    except PackageNotFoundError:
        return
    for one in needed:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(one.name)
        except PackageNotFoundError:
            yield Finding(one.name, "broken", "missing", f'pip install "{one}"')
            continue
        if not one.specifier.contains(found, prereleases=True):
            yield Finding(one.name, "broken", f"{found}, where {one.specifier} is needed", f'pip install "{one}"')


def model_library() -> Iterator[Finding]:
    """Torch and transformers, against the releases that the tests ran on."""
    for name in ("torch", "transformers"):
        yield _against_tested(name, version(name))


def _against_tested(name: str, found: str) -> Finding:
    newest, release = Version(TESTED[name]), Version(found).release
    if release[:2] <= newest.release:
        return Finding(name, "fine", found)
    newer = f"{found}; the tests ran up to {newest}"
    if name == "python":
        return Finding(name, "note", newer, f"should something fail, try Python {newest}")
    return Finding(name, "note", newer, f'should something fail: pip install "{name}=={newest}.*"')


def _brief(path: Path) -> str:
    """A path without the user's name in it."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def _editable(found: Distribution) -> Path | None:
    """The checkout of an editable install."""
    told = json.loads(found.read_text("direct_url.json") or "{}")
    if not told.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(told["url"]).path))


def _entry_points(source: Path) -> set[tuple[str, str]]:
    """(group, name) of what a checkout registers."""
    file = source / "pyproject.toml"
    groups = tomllib.loads(file.read_text("utf-8"))["project"].get("entry-points", {}) if file.is_file() else {}
    return {(group, name) for group, points in groups.items() for name in points}
