"""Conformance checks for strategies and pipelines, yours and the built-in ones; no test runner is needed.

    from tokenprune.testing import check_scorer
    check_scorer(FeatureNorm())

A check draws awkward tokens (ragged, tied, zero, huge, NaN-ridden, half precision, one token, many rows to an image),
and raises an `AssertionError` that names the strategy, the rule it breaks and the smallest input found that breaks it,
written so that it can be pasted. The same checks run over everything that is registered in this project's own tests.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401  (asked for here so that its absence is explained)
except ImportError as problem:
    raise ImportError("tokenprune.testing draws its inputs with hypothesis: pip install hypothesis") from problem

from tokenprune.testing.checks import check_diversifier, check_merger, check_pipeline, check_scorer, check_splitter
from tokenprune.testing.draw import DTYPES, KINDS, as_code, budgets, splits, visual_tokens
from tokenprune.testing.family import check_family
from tokenprune.testing.settings import check_settings, variants

__all__ = [
    "DTYPES",
    "KINDS",
    "as_code",
    "budgets",
    "check_diversifier",
    "check_family",
    "check_merger",
    "check_pipeline",
    "check_scorer",
    "check_settings",
    "check_splitter",
    "splits",
    "variants",
    "visual_tokens",
]
