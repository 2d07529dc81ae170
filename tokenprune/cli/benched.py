"""What ``tokenprune bench`` prints of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenprune.cli.terminal import stdout

if TYPE_CHECKING:
    from rich.table import Table

MIB = 2**20
_CLOCKS = {"wall": "time that passes", "process": "time that this process spends computing, all threads together"}


def show(record: dict[str, Any]) -> None:
    """The setting and the headline, then a table of what was compared and one of the stages."""
    screen = stdout()
    screen.print(_setting(record), "", markup=False, sep="\n")
    screen.print(f"{record['headline']}\n", style="bold", markup=False)
    screen.print(_ways(record), "")
    screen.print(_parts(record), "")
    for line in _notes(record):
        screen.print(line, markup=False)
    if (found := record.get("break_even")) is not None:
        screen.print("", *_break_even(found), sep="\n")


def _setting(record: dict[str, Any]) -> str:
    """What the figures depend on, in words."""
    width, height = record["image"]
    whole = record.get("layers_of", record["layers"])
    depth = f"{record['layers']} of {whole}" if whole != record["layers"] else str(whole)
    place, tokens = record["environment"], record["tokens"]
    low, high = sorted(record["load"])
    lines = (
        f"model    {record['model']}, {record['class']}",
        f"weights  {record['weights']}, {record['parameters'] / 1e6:,.1f} million; language model of {depth} layers",
        f"machine  {record['device']}, {place['processor']}",
        f"         {place['threads']} threads, load {low:.1f} to {high:.1f}, torch {place['torch']}",
        f"kernels  {record['dtype']}, {record['attention']} attention",
        f"prompt   one image of {width} x {height}, {record['prompt']} slots; {record['new_tokens']} new tokens",
        f"pruner   {record['pipeline']} {record['budget']}: {tokens['pruned']:g} of {tokens['full']} visual tokens",
        f"rounds   {record['rounds']}, all ways in turn; medians, paired ratios with 95 % intervals",
        f"clock    {_CLOCKS[record['clock']]}",
    )
    return "\n".join(lines)


def _table(*heads: str) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    return table


def _ways(record: dict[str, Any]) -> Table:
    """A line for each way, and for each comparison of two."""
    peaks = record["peak_bytes"] if None not in record["peak_bytes"].values() else None
    table = _table("", "first token", "each after", "cache", *(("peak",) if peaks else ()))
    first, each, cache = record["first_token"], record.get("each_token"), record["cache_bytes"]
    for way, name in (("full", "all tokens"), ("pruned", "pruned"), ("limit", "limit")):
        kept = sum(cache["full" if way == "full" else "pruned"])
        cells = [clocked(first["seconds"][way]), clocked(each["seconds"][way]) if each else "", _mib(kept)]
        table.add_row(name, *cells, *((_mib(peaks[way]),) if peaks else ()))
    for name, what, digits in (("all / pruned", "speed_up", 2), ("pruned / limit", "overhead", 3)):
        table.add_row(name, spread(first[what], digits), spread(each[what], digits) if each else "")
    return table


def _parts(record: dict[str, Any]) -> Table:
    """A line for each stage."""
    table = _table("stage", "time", "of the vision tower")
    seconds = record["stages"]["seconds"]
    for name in ("vision tower", "projector", "cue", "selection", "prefill, full", "prefill, pruned"):
        if name not in seconds:
            continue
        table.add_row(name, clocked(seconds[name]), f"{100 * seconds[name] / seconds['vision tower']:.2f} %")
    return table


def _notes(record: dict[str, Any]) -> list[str]:
    """What else there is to say."""
    lines, pruner = [], record["stages"].get("pruner_of_tower")
    if pruner is not None:
        percent = {name: 100 * value for name, value in pruner.items() if name != "count"}
        lines.append(f"cue and selection: {spread(percent)} % of the vision tower's time")
    if not record["same_answer_as_the_limit"]:
        lines.append(
            "pruned and limit gave different answers: the limit folds no tokens, and inside the language model"
        )
        lines.append("it keeps the first ones")
    return lines


def _break_even(found: dict[str, Any]) -> list[Any]:
    """From where on it pays, and what that rests on."""
    if not found["sizes"]:
        return [f"no break-even: {found['reason']}"]
    table = _table("visual tokens", "kept", "language model, all / cue, selection and rest")
    for size in found["sizes"]:
        table.add_row(str(size["tokens"]), str(size["kept"]), spread(size["speed_up"]))
    least = found["pays_from"]
    said = "at none of these sizes does pruning pay" if least is None else f"pruning pays from {least} visual tokens on"
    if least == found["sizes"][0]["tokens"]:
        said = "pruning pays at every one of these sizes"
    return [table, f"break-even: {said}"]


def spread(ratio: dict[str, Any], digits: int = 2) -> str:
    """A ratio with its interval."""
    return "{median:.{d}f} ({low:.{d}f} to {high:.{d}f})".format(**ratio, d=digits)


def clocked(seconds: float) -> str:
    """A duration in a unit that suits it."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.{1 if seconds >= 0.01 else 3}f} ms"


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
