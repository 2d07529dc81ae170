"""The ``tokenprune`` command: what is installed, what a model gives, a first try on an image, a comparison.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 an error said in words, 2 wrong usage. Importing
this package imports neither torch nor transformers; commands import what they need when they run.
"""

from typing import Annotated

import typer

from tokenprune.cli.comparing import compare
from tokenprune.cli.demonstration import demo
from tokenprune.cli.inspecting import inspect
from tokenprune.cli.listing import listing
from tokenprune.cli.running import run
from tokenprune.cli.showing import show
from tokenprune.cli.viewing import view

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    """Make vision-language models faster without training: prune visual tokens, keep the answer."""


app.command("list")(listing)
app.command("show")(show)
app.command("inspect")(inspect)
app.command("run")(run)
app.command("demo")(demo)
app.command("view")(view)
app.command("compare")(compare)
