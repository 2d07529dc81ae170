"""``tokenprune bench``: time and memory with all tokens, pruned, and at the limit."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenprune.cli.inspecting import image_size
from tokenprune.cli.options import (
    AsJson,
    BudgetText,
    Debug,
    Device,
    Dtype,
    DtypeName,
    ImageSize,
    PipelineName,
    TextTokens,
)
from tokenprune.cli.running import configured
from tokenprune.cli.terminal import CommandError, print_json, reported, stderr

if TYPE_CHECKING:
    from tokenprune.pipeline import Pipeline


class ClockName(StrEnum):
    """What is measured."""

    wall = "wall"
    process = "process"


Source = Annotated[
    str | None,
    typer.Argument(help="The model to time.", metavar="[DIR_OR_HUB_ID]", show_default="the embedded toy"),
]
RandomWeights = Annotated[
    str | None,
    typer.Option("--random-weights", metavar="NAME|DIR|FILE", help="Time a model of this size, its weights drawn."),
]
Layers = Annotated[
    int | None, typer.Option("--layers", min=1, help="Layers of its language model.", show_default="all")
]
Rounds = Annotated[int, typer.Option("--rounds", min=2, help="In each round all ways take turns.")]
New = Annotated[int, typer.Option("--new-tokens", min=1, help="Tokens to generate.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch.", show_default="torch's")]
Reads = Annotated[ClockName, typer.Option("--clock", help="Time that passes, or time spent computing.")]
Sizes = Annotated[bool, typer.Option("--break-even/--no-break-even", help="Look from how many tokens on it pays.")]


@dataclass(frozen=True)
class Asked:
    """Which model is timed, and where.

    Args:
        source: a folder, or a name on the hub. None: see ``size``; neither: the embedded model.
        size: whose weights are drawn instead.
        layers: of its language model. None: all.
        device, dtype: as in the options.
    """

    source: str | None
    size: str | None
    layers: int | None
    device: str | None
    dtype: Dtype | None

    def made(self) -> tuple[Any, Any, tuple[int, int], dict[str, Any]]:
        """The model, its image processor if it has one, (height, width) of an image, and what to say of it.

        Raises:
            CommandError: two models were asked for, or none can be made.
        """
        if self.source is not None and self.size is not None:
            raise CommandError(f"name a model or --random-weights, not both; got {self.source!r} and {self.size!r}")
        if self.size is not None:
            return self._drawn(self.size)
        if self.layers is not None:
            raise CommandError("--layers cuts the depth of drawn weights only; add --random-weights, or leave it out")
        return self._loaded()

    def _loaded(self) -> tuple[Any, Any, tuple[int, int], dict[str, Any]]:
        from tokenprune.cli.models import loaded
        from tokenprune.scenes import folder

        if self.source is None:
            model, processor = loaded(str(folder()), self.device or "cpu", (self.dtype or Dtype.float32).value)
        else:
            model, processor = loaded(self.source, self.device, (self.dtype or Dtype.auto).value)
        side = getattr(getattr(model.config, "vision_config", None), "image_size", None)
        image = (side, side) if isinstance(side, int) else (448, 448)
        name = self.source or "embedded"
        return model, getattr(processor, "image_processor", processor), image, {"model": name, "weights": "loaded"}

    def _drawn(self, size: str) -> tuple[Any, Any, tuple[int, int], dict[str, Any]]:
        import torch

        from tokenprune.cli.models import checked_device
        from tokenprune.measure.random_weights import cut_to, random_model
        from tokenprune.measure.sizes import described

        device, found = checked_device(self.device), described(size)
        config = cut_to(found.config, self.layers)
        said = None if self.dtype in (None, Dtype.auto) else getattr(torch, self.dtype.value)
        kind = said or (torch.float32 if device.type == "cpu" else getattr(config, "dtype", None) or torch.bfloat16)
        depth = int(found.config.get_text_config().num_hidden_layers)
        told = {"model": size, "weights": "random", "layers_of": depth}
        return random_model(config, device, kind), found.processor, found.image, told


def bench(
    context: typer.Context,
    model: Source = None,
    random_weights: RandomWeights = None,
    layers: Layers = None,
    pipeline: PipelineName = "vispruner",
    budget: BudgetText = None,
    image: ImageSize = None,
    text: TextTokens = 59,
    rounds: Rounds = 10,
    new_tokens: New = 8,
    break_even: Sizes = True,
    threads: Threads = None,
    clock: Reads = ClockName.wall,
    device: Device = None,
    dtype: DtypeName = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Time a model with all tokens, pruned, and at the limit: shortened by hand, as if choosing cost nothing."""
    with reported(debug):
        from tokenprune.cli.benched import show

        size = None if image is None else image_size(image)
        asked, chosen = Asked(model, random_weights, layers, device, dtype), configured(pipeline, budget, None)
        record = timed(asked, chosen, size, text, rounds, new_tokens, threads, clock, break_even)
        print_json({"command": typed(context), **record}) if as_json else show(record)


def typed(context: typer.Context) -> str:
    """The command that was typed, but for how it prints."""
    words = ["tokenprune", str(context.info_name)]
    for one in context.command.params:
        name = str(one.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in ("as_json", "debug"):
            continue
        value, options = context.params[name], [*one.opts, *one.secondary_opts]
        if isinstance(value, bool):
            words.append(options[0] if value else options[-1])
        else:
            words += [str(value)] if one.param_type_name == "argument" else [options[0], str(value)]
    return shlex.join(words)


def timed(
    asked: Asked,
    pipeline: Pipeline,
    size: tuple[int, int] | None,
    text: int,
    rounds: int,
    new_tokens: int,
    threads: int | None,
    clock: str,
    break_even: bool,
) -> dict[str, Any]:
    """The whole record; what runs is shown on stderr meanwhile."""
    import torch

    from tokenprune.cli.models import quiet_transformers
    from tokenprune.measure.bench import bench as measured
    from tokenprune.measure.contest import Contest, noise_prompt

    if threads is not None:
        torch.set_num_threads(threads)
    with stderr().status("making the model") as status, quiet_transformers():
        tell: Callable[[str], object] = status.update
        model, processor, image, told = asked.made()
        image = size or image
        contest = Contest(model, noise_prompt(model, image, text, processor), pipeline, new_tokens, clock == "process")
        record = measured(contest, rounds, sizes=break_even, tell=tell)
    return {**told, "image": list(image[::-1]), "text": text, **record}
