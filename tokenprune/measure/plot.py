"""A plot of the figure against the tokens kept; needs matplotlib, the extra ``plots``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenprune.errors import TokenpruneError
from tokenprune.measure.results import Result

CONTROLS = ("random", "uniform", "pool", "downsample", "none")


class PlotError(TokenpruneError, RuntimeError):
    """A plot that cannot be drawn."""


def check_plots() -> None:
    """See whether there is a library that draws.

    Raises:
        PlotError: there is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as problem:
        raise PlotError("plots are drawn by matplotlib: pip install 'tokenprune-vlm[plots]'") from problem


def plot(results: Sequence[Result], path: Path, names: Sequence[str] = ()) -> None:
    """Draw a panel for each task and policy: a line for each pipeline, controls dashed, the unpruned model as a level.

    Args:
        results: lines of one or more tasks.
        path: where it goes; the ending names the format.
        names: the pipelines to draw. None given: all of them.

    Raises:
        PlotError: there is no matplotlib, or the file cannot be written.
    """
    check_plots()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawn = [one for one in results if not one.reason and one.score and (not names or one.pipeline in names)]
    panels = list(dict.fromkeys((one.task, one.positions) for one in drawn if one.positions))
    with mpl.rc_context({"svg.hashsalt": "tokenprune", "font.size": 9}):
        figure = Figure(figsize=(5.2 * max(1, len(panels)), 4.6), layout="constrained")
        axes = figure.subplots(1, max(1, len(panels)), squeeze=False, sharey=True)[0]
        for axis, (task, policy) in zip(axes, panels, strict=False):
            full = next((one for one in results if one.task == task and not one.positions), None)
            _panel(axis, [one for one in drawn if (one.task, one.positions) == (task, policy)], full)
            axis.set_title(f"{task}, positions: {policy}")
        axes[0].legend(*axes[0].get_legend_handles_labels(), loc="lower right", fontsize=8)
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as problem:
            raise PlotError(f"cannot write the plot {str(path)!r}: {problem}") from problem


def _panel(axis: Any, lines: Sequence[Result], full: Result | None) -> None:
    """Lines over the share of tokens kept, on a logarithmic axis, each with its interval as a band."""
    for name in dict.fromkeys(one.pipeline for one in lines):
        found = [(one.share or 0.0, one.score) for one in lines if one.pipeline == name and one.score]
        points = sorted(found, key=lambda point: point[0])
        values = [score.value for _, score in points]
        shares, middle = [share for share, _ in points], [value.value for value in values]
        control = name in CONTROLS
        if len(points) == 1 and not shares[0]:
            axis.axhline(middle[0], color="0.6", linestyle=":", label=f"{name} (0 %)")
            continue
        (line,) = axis.plot(
            shares, middle, marker="o", markersize=3, linestyle="--" if control else "-", label=name, linewidth=1.4
        )
        low, high = [value.low for value in values], [value.high for value in values]
        axis.fill_between(shares, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    if full is not None and full.score:
        axis.axhline(full.score.value.value, color="0.2", linewidth=1, label="all tokens")
    ticks = sorted({round(one.share, 1) for one in lines if one.share})
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("visual tokens kept, %")
    axis.set_ylabel(lines[0].metric if lines else "")
    axis.grid(alpha=0.3)
