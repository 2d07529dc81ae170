"""What a pipeline's scorer gives the tokens of a call, for pictures; choosing itself never asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import TokenpruneError
from tokenprune.family import Model, family_of
from tokenprune.modality import see
from tokenprune.pipeline import Pipeline


def scores_of(model: Model, inputs: Mapping[str, Any], pipeline: Pipeline) -> list[Tensor] | None:
    """The scores of the first stage, one [n] float32 on the host for each image or video, as its receipt counts tokens.

    None where there are none: the pipeline has no scorer, or one that does not read the vision encoder.

    Args:
        model: as in `attach`; it must not be attached.
        inputs: what its processor returns.
        pipeline: whose scorer is asked.
    """
    scorer, family = pipeline.stages[0].scorer, family_of(model)
    if scorer is None or family.cross is not None or pipeline.stages[0].site != "pre_llm":
        return None
    try:
        with torch.no_grad():
            tokens = see(family, model, inputs, pipeline, inputs["input_ids"], inputs.get("attention_mask")).tokens
            scores = scorer.score(tokens).float().cpu()
    except TokenpruneError:
        return None
    valid = torch.ones(scores.shape, dtype=torch.bool) if tokens.valid is None else tokens.valid.cpu()
    rows = [tokens.group == group for group in sorted(set(tokens.group.tolist()))]
    return [scores[mine][valid[mine]] for mine in rows]
