"""Cues that are read inside the language model, by name."""

from __future__ import annotations

OF_LAYER = frozenset(  # cues of one layer: ``NAME@previous`` or ``NAME@this``
    (
        *("last_attention", "text_attention", "visual_attention", "last_prior", "text_prior"),
        *("keys", "mean_keys", "text_keys"),
    )
)
LLM_CUES = OF_LAYER | {"layer_change", "text_states", "inputs"}
PREVIOUS = "previous_scores"  # of the stage before
