"""A user's script is checked by mypy in strict mode against the installed wheel."""

import re
import subprocess
import sys
from textwrap import dedent

import house
import pytest

pytestmark = pytest.mark.xdist_group("packaging")

RIGHT = """
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any, final

    import torch
    from torch import Tensor

    import tokenprune
    from tokenprune import Budget, BudgetSplitter, Diversifier, Pipeline, Scorer, Selection, Split, Stage, VisualTokens


    @final
    class FeatureNorm(Scorer):
        power: float = 1.0

        def score(self, tokens: VisualTokens) -> Tensor:
            return tokens.features.float().square().sum(-1).sqrt().pow(self.power)


    @final
    class FirstRow(BudgetSplitter):
        def split(self, tokens: VisualTokens, scores: Tensor, budget: Budget) -> Split:
            counts = tokens.counts.clamp(max=budget.resolve(tokens.shape[1]))
            return Split(counts, counts * 0)


    @final
    class First(Diversifier):
        def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
            return (~kept).cumsum(-1) <= split.diverse[:, None]


    tokens = VisualTokens.on_grid(torch.zeros(1, 6, 2), (2, 3), cues={"cls_attention": lambda: torch.ones(1, 6)})
    pipeline: Pipeline = tokenprune.load("vispruner", budget="11.1%").replace(scorer=FeatureNorm(power=2), budget=64)
    other: Pipeline = tokenprune.load(Path("mine.yaml"))
    selection: Selection = pipeline.select(tokens)
    kept: list[Tensor] = selection.indices()
    grid: tuple[int, int] | None = tokens.grid
    stage: Stage = pipeline.stages[0]
    schema: dict[str, Any] = Pipeline.model_json_schema()
    names: list[str] = [*tokenprune.list_pipelines(), *tokenprune.list_families()]
    parts: dict[str, list[str]] = tokenprune.list_strategies()


    def answer(model: torch.nn.Module, inputs: Mapping[str, Any]) -> str:
        with tokenprune.attach(model, pipeline, budget=64) as pruned:
            model(**inputs)
        handle: tokenprune.Attachment = tokenprune.attach(model, "vispruner")
        handle.detach()
        short = tokenprune.prune_inputs(model, inputs, "vispruner", budget=64)
        return f"{pruned.receipt} {short} {pipeline.to_yaml()}"
"""

WRONG = """
    import torch

    import tokenprune
    from tokenprune import Scorer, VisualTokens

    tokenprune.prune()  # error: attr-defined
    tokenprune.load(3)  # error: arg-type
    tokens = VisualTokens("features")  # error: arg-type
    count: str = tokens.shape[0]  # error: assignment
    pipeline = tokenprune.load("vispruner")
    pipeline.budget = 3  # error: assignment
    pipeline.select(torch.zeros(1, 2, 3))  # error: arg-type


    class Wrong(Scorer):
        def score(self, tokens: VisualTokens) -> int:  # error: override
            return 3
"""


def test_public_types_accept_what_is_right_and_refuse_what_is_wrong(installed, tmp_path):
    (tmp_path / "right.py").write_text(dedent(RIGHT))
    (tmp_path / "wrong.py").write_text(dedent(WRONG))
    plugin = house.ROOT / "examples/third_party_plugin/tokenprune_norms"
    interpreter = ("--python-executable", str(installed.programs / "python"))
    told = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", *interpreter, "right.py", "wrong.py", str(plugin)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = re.findall(r"^(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", told.stdout, re.MULTILINE)
    wanted = re.compile(r"# error: ([\w-]+)$")
    marked = [(i, wanted.search(line)) for i, line in enumerate(dedent(WRONG).splitlines(), 1)]
    assert found == [("wrong.py", str(i), mark[1]) for i, mark in marked if mark], told.stdout + told.stderr
