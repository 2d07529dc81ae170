"""Write the help of every command into its page: ``python tests/cli/document.py``. A test sees that it is current."""

import re
from enum import Enum
from inspect import Parameter, getdoc, signature
from pathlib import Path
from typing import get_args, get_type_hints

from typer.models import OptionInfo

from tokenprune.cli import COMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
MARK = "<!-- from here on written by `python tests/cli/document.py` -->\n"
EVERYWHERE = {"as_json", "debug"}  # the head of the page tells of these


def page(text):
    """The page, with what follows the mark written anew."""
    head, mark, _ = text.partition(MARK)
    assert mark, f"{PAGE} has no line {MARK!r}"
    return head + mark + "".join(map(panel, COMMANDS))


def panel(name):
    return f"\n## {name}\n" + "".join(section(*command) for command in COMMANDS[name].items())


def section(name, function):
    """A command: what it does, and a line for each argument and option."""
    hints = get_type_hints(function, include_extras=True)
    given = {key: one for key, one in signature(function).parameters.items() if key not in EVERYWHERE}
    given = {key: one for key, one in given.items() if get_args(hints[key])}  # a context is none of the user's
    rows = [row(key, *get_args(hints[key])[:2], one.default) for key, one in given.items()]
    head = ["", "| | what it says | default |", "|---|---|---|"] if rows else []
    return "\n".join([f"\n### tokenprune {name}\n", flowing(getdoc(function)), *head, *rows]) + "\n"


def row(key, kind, info, default):
    option = isinstance(info, OptionInfo)
    names = called(key, info) if option else [info.metavar or key.upper()]
    value = f" {taken(kind, info)}" if option and kind is not bool else ""
    if default is True:
        default = names[0]  # of a switch and its opposite
    told = " or ".join(f"`{name}`" for name in names) + value
    return f"| {escaped(told)} | {flowing(info.help)} | {shown(info, default)} |"


def called(key, info):
    """The names of an option; without any its parameter's."""
    written = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]
    return [name for one in written for name in one.split("/")] or [f"--{key.replace('_', '-')}"]


def taken(kind, info):
    """What an option takes."""
    kinds = [kind, *get_args(kind)]
    choices = next((one for one in kinds if isinstance(one, type) and issubclass(one, Enum)), ())
    written = " or ".join(f"`{one.value}`" for one in choices)
    return written or f"`{info.metavar or ('N' if int in kinds else 'TEXT')}`"


def shown(info, default):
    if isinstance(info.show_default, str):
        return info.show_default
    if default is Parameter.empty:
        return "must be given"
    value = getattr(default, "value", default)
    return "" if value is None or value is False else f"`{value}`"


def flowing(text):
    return escaped(re.sub(r"\s+", " ", text or "").strip())


def escaped(text):
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), encoding="utf-8")
