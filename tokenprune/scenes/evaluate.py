"""How often the embedded model is right, kind by kind, through its own processor and ``generate``.

python -m tokenprune.scenes.evaluate --set sparse --questions 2000 --seed 2
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tokenprune.scenes import KINDS, SETS, Question, Scene, draw, folder, load

Asked = tuple[Scene, Question]


@dataclass(frozen=True)
class Tally:
    """Right answers among ``asked`` questions."""

    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        """The share of right answers; not a number where nothing was asked."""
        return self.right / self.asked if self.asked else math.nan

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Wilson's 95 % interval (JASA 22, 1927): sampling of questions only, one training run."""
        n, p = max(self.asked, 1), self.right / max(self.asked, 1)
        middle, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)

    def to_dict(self) -> dict[str, float]:
        """Plain numbers, for JSON."""
        low, high = self.interval()
        return {"right": self.right, "asked": self.asked, "accuracy": self.accuracy, "low": low, "high": high}


def take(kind: str, number: int, seed: int = 2) -> list[Asked]:
    """The first ``number`` questions of a set: scene after scene, each asked once about everything it can answer."""
    endless: Iterator[Asked] = (
        (scene, question)
        for scene in (draw(index, kind, seed) for index in count())
        for question in scene.questions(seed)
    )
    return list(islice(endless, number))


def answer(model: Any, processor: Any, asked: Sequence[Asked]) -> list[str]:
    """What the model says to each question, as one batch, greedily."""
    import torch

    turns = [[{"type": "image"}, {"type": "text", "text": question.text}] for _, question in asked]
    prompts = [
        processor.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True) for turn in turns
    ]
    images = [scene.image for scene, _ in asked]
    inputs = processor(images=images, text=prompts, padding=True, return_tensors="pt").to(model.device)
    with torch.no_grad():
        output = model.generate(**inputs, do_sample=False)
    said = output[:, inputs["input_ids"].shape[1] :]  # [B, new]
    return [text.strip() for text in processor.batch_decode(said, skip_special_tokens=True)]


def tally(asked: Sequence[Asked], answers: Sequence[str]) -> dict[str, Tally]:
    """Counts for each kind of question and for ``all``."""
    right = [(question.kind, said == question.answer) for (_, question), said in zip(asked, answers, strict=True)]
    kinds = {kind: [hit for its, hit in right if its == kind] for kind in KINDS}
    return {name: Tally(sum(hits), len(hits)) for name, hits in {**kinds, "all": [hit for _, hit in right]}.items()}


def render(tallies: dict[str, Tally], title: str) -> Table:
    """One line for each kind."""
    table = Table(title=title)
    for column in ("question", "asked", "right, %", "95 % interval"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for name, found in tallies.items():
        low, high = found.interval()
        table.add_row(name, str(found.asked), f"{100 * found.accuracy:.1f}", f"{100 * low:.1f} to {100 * high:.1f}")
    return table


def main(
    kind: Annotated[str, typer.Option("--set", help=f"Which scenes: {' or '.join(SETS)}.")] = "sparse",
    questions: Annotated[int, typer.Option(help="How many questions.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of scenes and questions; the model was trained on seed 1.")] = 2,
    checkpoint: Annotated[Path | None, typer.Option(help="Another folder; default: the shipped one.")] = None,
    batch: Annotated[int, typer.Option(help="Questions in a batch.", min=1)] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False,
) -> None:
    """Asks the embedded model about held-out scenes and prints how often it is right."""
    if kind not in SETS:
        raise typer.BadParameter(f"no set {kind!r}: there are {', '.join(SETS)}", param_hint="--set")
    model, processor = load(checkpoint or folder())
    asked, answers = take(kind, questions, seed), []
    for start in track(range(0, len(asked), batch), "asking", console=Console(stderr=True)):
        answers += answer(model, processor, asked[start : start + batch])
    tallies = tally(asked, answers)
    if as_json:
        report = {"set": kind, "seed": seed, "kinds": {name: found.to_dict() for name, found in tallies.items()}}
        typer.echo(json.dumps(report, indent=2))
    else:
        Console().print(render(tallies, f"{kind} scenes, seed {seed}"))


if __name__ == "__main__":
    typer.run(main)
