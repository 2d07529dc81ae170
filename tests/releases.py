"""The release of transformers that is installed, and what is left out because it came, or is proven, later."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[1]
CHUNKED = "5.23"  # the release from which prefill in chunks reads images that are encoded
INSTALLED = Version(version("transformers")).release


def there(since):
    """Whether the installed release is ``since`` or newer."""
    return Version(since).release <= INSTALLED


def modes(names):
    """Parameters of a test: names of ways to run a model, those with prefill in chunks from their release on."""
    return [pytest.param(name, marks=pytest.mark.since(CHUNKED) if "chunked" in name else ()) for name in names]


def pinned(file):
    """{name: version} of what a file of constraints names."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / file).read_text("utf-8"), re.MULTILINE))


def newest():
    """The release that the whole suite runs on."""
    return Version(pinned("constraints.txt")["transformers"]).release
