"""What pruning saves of time and memory on one model and one prompt, against all tokens and against the limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from statistics import median
from typing import Any

import torch

from tokenprune.measure.break_even import break_even
from tokenprune.measure.contest import Contest, Laps
from tokenprune.measure.environment import environment
from tokenprune.measure.paired import Ratio, interleave, ratio
from tokenprune.measure.peak import peak_memory
from tokenprune.measure.stages import Stages, cache_bytes

Told = Callable[[str], object]


def bench(contest: Contest, rounds: int, *, sizes: bool = True, tell: Told = lambda _: None) -> dict[str, Any]:
    """Time the three ways of a contest in turn, then the stages of a prefill, then the break-even.

    Args:
        contest: the model, the prompt and the pipeline.
        rounds: of each; everything ran once before.
        sizes: whether to look for the break-even.
        tell: is told what runs.

    Returns:
        Plain values: seconds as medians, comparisons as medians of paired ratios with their intervals.
    """
    load = [os.getloadavg()[0]]
    tell("warming up")
    answers = {name: run().sequences for name, run in contest.ways.items()}
    peaks = {name: _peak(contest, run) for name, run in contest.ways.items()}
    contest.forget()
    tell("timing answers")
    interleave(contest.ways, rounds, contest.clock.read)
    tell("timing stages")
    stages = Stages(contest)
    seconds, found = _stages(stages, rounds)
    assert contest.receipt is not None
    after, before = contest.receipt.average, contest.receipt.before
    record = {
        **_setting(contest, rounds),
        "tokens": {"full": before, "pruned": after},
        "same_answer_as_the_limit": _same(answers["pruned"], answers["limit"], contest),
        **_compared(contest.laps),
        "stages": found,
        "cache_bytes": {name: cache_bytes(cache) for name, cache in stages.cache.items()},
        "peak_bytes": peaks,
    }
    if sizes and not contest.pipeline.inside:
        tell("looking for the break-even")
        tokens, extra = stages.selection()[0].tokens, median(seconds["cue"])
        record["break_even"] = break_even(contest, tokens, Fraction(round(after), before), extra, rounds)
    return {**record, "load": [*load, os.getloadavg()[0]], "environment": environment()}


def _setting(contest: Contest, rounds: int) -> dict[str, Any]:
    """What the figures depend on."""
    model = contest.model
    return {
        "class": type(model).__name__,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "layers": int(model.config.get_text_config().num_hidden_layers),
        "pipeline": contest.pipeline.name,
        "budget": str(contest.pipeline.budget),
        "clock": "process" if contest.clock.busy else "wall",
        "batch": 1,
        "prompt": contest.inputs["input_ids"].shape[1],
        "rounds": rounds,
        "warm_ups": 1,
        "new_tokens": contest.length["max_new_tokens"],
    }


def _same(pruned: torch.Tensor, limit: torch.Tensor, contest: Contest) -> bool:
    """Whether both say the same; a merger, which costs something, is left out of the limit."""
    new = contest.length["max_new_tokens"]
    return torch.equal(pruned[:, -new:], limit[:, -new:])


def _compared(laps: Mapping[str, Laps]) -> dict[str, Any]:
    """Medians, and paired ratios; ``speed_up`` and ``limit`` are of all tokens, ``overhead`` is over the limit."""
    first = {name: lap.first for name, lap in laps.items()}
    speed_up = ratio(first["full"], first["pruned"])
    found: dict[str, Any] = {
        "first_token": {
            "seconds": {name: median(values) for name, values in first.items()},
            "speed_up": speed_up.to_dict(),
            "limit": ratio(first["full"], first["limit"]).to_dict(),
            "overhead": ratio(first["pruned"], first["limit"]).to_dict(),
        },
        "headline": headline(speed_up),
    }
    each = {name: lap.each for name, lap in laps.items()}
    if any(value != value for value in each["full"]):  # a single token: nothing is decoded after it
        return found
    found["each_token"] = {
        "seconds": {name: median(values) for name, values in each.items()},
        "speed_up": ratio(each["full"], each["pruned"]).to_dict(),
        "overhead": ratio(each["pruned"], each["limit"]).to_dict(),
    }
    return found


def headline(speed_up: Ratio) -> str:
    """One sentence; no speed-up is claimed that the interval does not settle."""
    if not speed_up.settled:
        return f"no speed-up is claimed: the interval covers 1, {speed_up}"
    if speed_up.median < 1:
        return f"no speed-up: pruned takes longer to the first token; all / pruned is {speed_up}"
    return f"{speed_up.median:.2f} times as fast to the first token; interval {speed_up.low:.2f} to {speed_up.high:.2f}"


def _stages(stages: Stages, rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each stage and round, and what they come to."""
    for run in stages.runs.values():
        run()
    stages.split.clear()
    seconds = interleave(stages.runs, rounds, stages.contest.clock.read)
    tower = [whole - part for whole, part in zip(seconds["vision tower"], stages.split, strict=True)]
    seconds |= {"vision tower": tower, "projector": list(stages.split)}
    found: dict[str, Any] = {"seconds": {name: median(values) for name, values in seconds.items()}}
    if "cue" in seconds:
        found["pruner_of_tower"] = ratio(_sums(seconds["cue"], seconds["selection"]), tower).to_dict()
        found["prefill"] = ratio(seconds["prefill, full"], seconds["prefill, pruned"]).to_dict()
    return seconds, found


def _sums(*parts: Sequence[float]) -> list[float]:
    return [sum(values) for values in zip(*parts, strict=True)]


def _peak(contest: Contest, run: Callable[[], object]) -> int | None:
    """Bytes above what was held before; None where this system does not tell."""
    device = contest.clock.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    try:
        with peak_memory() as peak:
            run()
    except OSError:
        return None
    return peak.size
