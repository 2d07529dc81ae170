"""What stands in fences on the pages of this project, and what runs there."""

import re
from dataclasses import dataclass

from house import ROOT

PAGES = sorted(
    path
    for place in ("*.md", "docs/**/*.md", "strategies/*.md", "adapters/*.md", "examples/**/*.md", "tokenprune/**/*.md")
    for path in ROOT.glob(place)
    if not {".venv", ".venv-floor", "site"} & set(path.relative_to(ROOT).parts)
)
_OPENS = re.compile(r"^(?P<indent> *)(?P<fence>```+) *(?P<language>\w*) *(?P<more>.*)$")
_COMMAND = re.compile(r"^\$? *((?:tokenprune|make|python|pytest|pip|\.ci/run)(?=\s|$).*?)(?:\s{2,}#.*|\s# .*)?$")


@dataclass(frozen=True)
class Fence:
    """A fenced or an indented block of a page; ``line`` is that of its first line, from 1."""

    page: str
    line: int
    language: str
    more: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def is_file(self):
        """Whether it is a whole file, which the test of its page runs where it belongs."""
        return "title=" in self.more

    @property
    def is_included(self):
        """Whether it is a file of the checkout, put in when the site is built."""
        return self.text.lstrip().startswith("--8<--")

    @property
    def commands(self):
        """Lines that a reader would give to a shell; in a console only those behind a ``$``."""
        if self.language not in ("", "bash", "console"):
            return []
        prompt = "$ " if self.language == "console" else ""
        lines = [line.strip() for line in self.text.replace("\\\n", " ").splitlines()]
        found = [_COMMAND.match(line) for line in lines if line.startswith(prompt)]
        return [hit[1].strip() for hit in found if hit]


def fences(path):
    """All blocks of a page, in order."""
    page, found, opened, lines, start = str(path.relative_to(ROOT)), [], None, [], 0
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        hit = _OPENS.match(line)
        if opened is None and hit:
            opened, lines, start = hit, [], number + 1
        elif opened is not None and line.strip() == opened["fence"]:
            found.append(Fence(page, start, opened["language"], opened["more"], "\n".join(lines) + "\n"))
            opened = None
        elif opened is not None:
            lines.append(line.removeprefix(opened["indent"]))
        elif line.startswith("    "):
            found.append(Fence(page, number, "", "", line.strip() + "\n"))
    assert opened is None, f"{page}: a fence is not closed"
    return found


EVERY = [fence for page in PAGES for fence in fences(page)]
