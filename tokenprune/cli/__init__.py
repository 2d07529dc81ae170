"""The ``tokenprune`` command: what is installed, what a model gives, a first try on an image, a comparison.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 an error said in words, 2 wrong usage. Importing
this package imports neither torch nor transformers; commands import what they need when they run.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from tokenprune.cli.benching import bench
from tokenprune.cli.citing import cite
from tokenprune.cli.comparing import compare
from tokenprune.cli.counting import flops
from tokenprune.cli.demonstration import demo
from tokenprune.cli.describing import schema
from tokenprune.cli.doctoring import doctor
from tokenprune.cli.evaluating import evaluating
from tokenprune.cli.inspecting import inspect
from tokenprune.cli.listing import listing
from tokenprune.cli.running import run
from tokenprune.cli.showing import show
from tokenprune.cli.starting import new_strategy
from tokenprune.cli.validating import validate
from tokenprune.cli.viewing import view

__all__ = ["app"]

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Try": {"demo": demo, "run": run, "view": view, "compare": compare},
    "Look around": {"list": listing, "show": show, "inspect": inspect, "doctor": doctor, "cite": cite},
    "Measure": {"eval": evaluating, "bench": bench, "flops": flops},
    "Compose": {"validate": validate, "schema": schema, "new-strategy": new_strategy},
}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 an error said in words, 2 wrong usage. Every command has --json.",
)


def _version(asked: bool) -> None:
    if asked:
        from tokenprune import __version__

        typer.echo(f"tokenprune {__version__}")
        raise typer.Exit


@app.callback()
def tokenprune(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Prune visual tokens of vision-language models, without training."""


for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)
