"""Prove that a family is attached right: every way of running it, against the unmodified model and against hand work.

    from tokenprune.testing import check_family
    report = check_family(build, inputs)
    assert report.proven, report

Every check ends as passed, as failed, or as not applicable: the unmodified model itself does not allow the comparison,
and the evidence says by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tokenprune.testing.family.geometry import cues_are_eager, features_are_inputs, places_are_pixels
from tokenprune.testing.family.inside import equals_masked_layers
from tokenprune.testing.family.oracles import equals_masked, equals_run_by_hand, streams_are_cut_alike
from tokenprune.testing.family.report import Report, Verdict, verdict
from tokenprune.testing.family.runs import (
    batch_is_each_alone,
    beams_are_each_alone,
    detaches,
    loop_is_generate,
    receipt_is_true,
    static_is_dynamic,
    uncached_is_cached,
    whole_budget_changes_nothing,
)
from tokenprune.testing.family.subject import Subject

__all__ = ["CHECKS", "Report", "Verdict", "check_family"]

CHECKS: dict[str, Callable[[Subject], str]] = {
    "identity": whole_budget_changes_nothing,
    "by hand": equals_run_by_hand,
    "masked": equals_masked,
    "streams": streams_are_cut_alike,
    "uncached": uncached_is_cached,
    "batch": batch_is_each_alone,
    "beams": beams_are_each_alone,
    "static": static_is_dynamic,
    "loop": loop_is_generate,
    "detach": detaches,
    "receipt": receipt_is_true,
    "inside": equals_masked_layers,
    "cue": cues_are_eager,
    "features": features_are_inputs,
    "place": places_are_pixels,
}


def check_family(
    build: Callable[[], Any],
    inputs: Callable[[Any, Sequence[int]], dict[str, Any]],
    *,
    prompts: Sequence[int] = (0, 1),
    mask: Callable[[Any, Tensor, int], Any] | None = None,
    locate: Callable[[dict[str, Any]], Tensor | list[Tensor]] | None = None,
    images: int | None = None,
    shares: Callable[[Any, dict[str, Any]], Tensor] | None = None,
    checks: Sequence[str] = tuple(CHECKS),
) -> Report:
    """Run every check on a small model with random weights; one verdict each.

    Args:
        build: makes the model: float32, ``eval()``, no end of text.
        inputs: of the model and prompt numbers, the call that a processor makes of these prompts, padded on the left;
            a number gives the same text and images in any company: several crops, odd grids, two images. Where it
            brings videos, every check is about them too, and cue, features and place are about them alone.
        prompts: the numbers to use; two at least, with different images or videos.
        mask: ``attention_mask`` where it is not causal, given the model, [S] bool (visual) and the prompt's length.
        locate: of a call, [*pixels, 2]: (y, x) as a fraction of the canvas, NaN in padding; a list where several
            arguments hold pixels. Default: each picture.
        images: how many images and videos the prompts have together; crops, tiles and frames are no images.
        shares: of the model and a call, [R, S] how much of each feature row each place of the encoder's sequences is,
            where tokens are interpolated; rows that are no tokens are zero. Default: derivatives say.
        checks: names of `CHECKS`.

    Raises:
        UnknownFamily: none is registered for the model.
    """
    subject = Subject(build(), inputs, tuple(prompts), mask, locate, images, shares)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        verdicts = {name: verdict(CHECKS[name], subject) for name in checks}
    return Report(type(subject.model).__name__, subject.model.config.model_type, verdicts)
