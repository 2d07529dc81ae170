"""``tokenprune doctor``: what is installed here, and what stands in the way."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import print_json, reported, stderr, stdout

if TYPE_CHECKING:
    from tokenprune.cli.diagnosis import Finding

MARKS = {"fine": ("✓", "ok", "green"), "note": ("!", "!", "yellow"), "broken": ("✗", "x", "bold red")}


def doctor(as_json: AsJson = False, debug: Debug = False) -> None:
    """Look at versions, devices and plug-ins, and name a remedy for whatever is wrong; exit code 1 if something is."""
    with reported(debug):
        from tokenprune.cli.diagnosis import diagnose

        with stderr().status("looking around"):
            found = list(diagnose())
        broken = sum(one.status == "broken" for one in found)
        if as_json:
            print_json({"healthy": not broken, "findings": [asdict(one) for one in found]})
        else:
            _print(found, broken)
        if broken:
            raise typer.Exit(1)


def _print(found: list[Finding], broken: int) -> None:
    """A line for each finding, its remedy below, and a verdict."""
    from rich.table import Table
    from rich.text import Text

    screen = stdout()
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in found:
        mark, plain, style = MARKS[one.status]
        told = Text(one.found)
        if one.remedy:
            told.append(f"\nto do: {one.remedy}", "cyan")
        table.add_row(Text(plain if screen.options.ascii_only else mark, style), Text(one.name, "bold"), told)
    screen.print(table)
    notes = sum(one.status == "note" for one in found)
    verdict = f"{broken} broken" if broken else "nothing is broken"
    said = f", {notes} {'note' if notes == 1 else 'notes'}" if notes else ""
    screen.print(Text(f"\n{verdict}{said}", "bold red" if broken else "bold green"))
