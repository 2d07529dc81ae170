"""What the commands that draw share: pictures and questions, pipelines under budgets, and what each of them keeps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenprune.cli.asking import prepared, read, said
from tokenprune.cli.lists import listed as listed
from tokenprune.cli.models import check_words, loaded, quiet_transformers
from tokenprune.cli.options import Dtype, Positions
from tokenprune.cli.questions import Asked
from tokenprune.cli.running import configured
from tokenprune.cli.terminal import CommandError, note, stderr
from tokenprune.page.items import Run
from tokenprune.strip import strip_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from tokenprune.pipeline import Pipeline
    from tokenprune.placement import Placement
    from tokenprune.receipt import Receipt


@dataclass(frozen=True)
class Kept:
    """What one pipeline keeps under one budget.

    Args:
        pipeline: which, with its budget in it.
        receipt: what it kept.
        said: the answer. None: there was none to give.
    """

    pipeline: Pipeline
    receipt: Receipt
    said: str | None

    @property
    def run(self) -> Run:
        """As a page shows it: what the last layer sees, and the layers before it."""
        stages = strip_of(self.receipt)
        return Run(stages[-1][1] if stages else self.receipt.images[0], (), stages, self.receipt.average)


@dataclass(frozen=True)
class Looked:
    """A picture and a question, and what came of every pipeline under every budget.

    Args:
        asked: the picture and the question.
        kept: one line for each pipeline, in it one for each budget.
        placement: where the rows of the picture lie on it.
        scores: of each pipeline's first scorer, [n] or None.
        full: the answer with all tokens. None: nothing was to be answered.
    """

    asked: Asked
    kept: Sequence[Sequence[Kept]]
    placement: Placement
    scores: Sequence[Any]
    full: str | None

    @property
    def runs(self) -> list[list[Run]]:
        """As a page shows them, without answers."""
        return [[one.run for one in line] for line in self.kept]

    @property
    def answers(self) -> list[list[str]]:
        """What was said, in the same order; empty where nothing was to be answered."""
        return [[one.said for one in line if one.said is not None] for line in self.kept]


def pipelines_of(names: str, budgets: str | None, positions: Positions | None) -> list[list[Pipeline]]:
    """For each pipeline of a list one pipeline for each budget of another, or with its own budget.

    Raises:
        UnknownName, PipelineError, BudgetError: there is no such pipeline, or it takes no such budget.
    """
    amounts: list[str | None] = [*listed(budgets, "--budgets")] if budgets is not None else [None]
    return [[configured(name, one, positions) for one in amounts] for name in listed(names, "--pipelines")]


def model_of(source: str | None, device: str | None, dtype: Dtype | None) -> tuple[Any, Any]:
    """A model and its processor; the embedded one where no other is named."""
    from tokenprune.scenes import folder

    with stderr().status("loading the model"), quiet_transformers(bars=source is not None and sys.stderr.isatty()):
        if source is None:
            return loaded(str(folder()), device or "cpu", (dtype or Dtype.float32).value)
        return loaded(source, device, (dtype or Dtype.auto).value)


def check_embedded(image: Image, questions: Sequence[str]) -> None:
    """Say what the embedded model cannot do with a picture or a question.

    Raises:
        CommandError: it does not know the words.
    """
    from tokenprune.scenes.grounds import SIZE

    for question in questions:
        check_words(question)
    if image.size != (SIZE, SIZE):
        note("note", f"the embedded model knows drawn scenes of {SIZE} x {SIZE} pixels only, such as sparse:0")


def looked(
    model: Any,
    processor: Any,
    asked: Asked,
    pipelines: Sequence[Sequence[Pipeline]],
    new_tokens: int | None,
    say: bool,
    before: Looked | None = None,
) -> Looked:
    """Ask about one picture with every pipeline under every budget.

    Args:
        model: not attached.
        processor: its own.
        asked: the picture and the question.
        pipelines: as `pipelines_of` gives them.
        new_tokens: length of an answer. None: the model's.
        say: whether answers are wanted, and the one with all tokens to compare them with.
        before: what was looked at before; where its picture is the same, so is what was found out about that.

    Raises:
        CommandError: the processor gave no image that the model's family knows.
    """
    from tokenprune.placement import placed
    from tokenprune.scores import scores_of

    with stderr().status("looking") if not say else nullcontext(), quiet_transformers():
        inputs = read(model, processor, asked.image, asked.question)
        full = said(model, processor, inputs, new_tokens) if say else None
        kept = [[_kept(model, processor, inputs, one, new_tokens, say) for one in line] for line in pipelines]
        scores = [scores_of(model, inputs, line[0]) for line in pipelines]
        if before is not None and before.asked.image is asked.image:
            placement = before.placement
        else:
            first = kept[0][0].receipt.images[0]
            placement = placed(_process(processor, asked.question), asked.image.size, first.spots)
    return Looked(asked, kept, placement, [None if one is None else one[0] for one in scores], full)


def _process(processor: Any, question: str) -> Callable[[Image], Any]:
    return lambda image: prepared(processor, image, question)


def _kept(model: Any, processor: Any, inputs: Any, pipeline: Pipeline, new_tokens: int | None, say: bool) -> Kept:
    import tokenprune

    with tokenprune.attach(model, pipeline) as attached:
        text = said(model, processor, inputs, new_tokens if say else 1)
    if attached.receipt is None:
        raise CommandError(f"{type(processor).__name__} gave no image to prune, only {', '.join(inputs)}")
    return Kept(pipeline, attached.receipt, text if say else None)


def every(kept: Sequence[Sequence[Kept]]) -> Iterator[Kept]:
    """One after the other."""
    return (one for line in kept for one in line)
