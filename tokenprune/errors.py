"""Everything that can go wrong, as one tree.

TokenpruneError
├── BudgetError (ValueError)          a budget that has no meaning
├── PipelineError (ValueError)        a pipeline that does not validate
├── UnknownName (LookupError)         nothing is registered under that name
├── PluginError                       an installed plug-in cannot be used
│   ├── ConflictingNames              two distributions claim one name
│   └── BrokenPlugin                  it raises on import, or is the wrong kind of object
├── MissingCue (LookupError)          a strategy reads what this model does not give
└── AttachError (RuntimeError)        a model that cannot be attached, or a mode that cannot be pruned
    ├── UnknownFamily                 no family is registered for this model
    ├── AlreadyAttached               one model, one pipeline
    ├── UnsupportedMode               this call would go wrong, so it is refused
    └── NothingPruned                 ``strict=True`` and every token stayed

NothingPrunedWarning, UnprunedInputWarning (UserWarning)
"""

import sys
import warnings


class TokenpruneError(Exception):
    """Root of the tree."""


class BudgetError(TokenpruneError, ValueError):
    """A budget that has no meaning."""


class PipelineError(TokenpruneError, ValueError):
    """A pipeline that does not validate."""


class UnknownName(TokenpruneError, LookupError):
    """Nothing is registered under that name."""


class PluginError(TokenpruneError):
    """An installed plug-in cannot be used."""


class ConflictingNames(PluginError):
    """Two distributions claim one name."""


class BrokenPlugin(PluginError):
    """A plug-in raises on import, or is the wrong kind of object."""


class MissingCue(TokenpruneError, LookupError):
    """A strategy reads a cue that this model does not give."""


class AttachError(TokenpruneError, RuntimeError):
    """A model that cannot be attached, or a mode that cannot be pruned."""


class UnknownFamily(AttachError):
    """No family is registered for this model."""


class AlreadyAttached(AttachError):
    """The model already has a pipeline."""


class UnsupportedMode(AttachError):
    """This call would give wrong answers if it were pruned."""


class NothingPruned(AttachError):
    """A budget below the number of tokens was asked for, and every token stayed."""


class NothingPrunedWarning(UserWarning):
    """A budget below the number of tokens was asked for, and every token stayed."""


class UnprunedInputWarning(UserWarning):
    """This input reaches the model as it is, because it carries no tokens that can be pruned."""


class Complaints:
    """Each kind of warning once; or errors, if one is strict."""

    def __init__(self, strict: bool) -> None:
        self.strict, self.told = strict, set[type[UserWarning]]()

    def __call__(self, message: str, category: type[UserWarning]) -> None:
        """Raise `NothingPruned`, or warn if this kind is new."""
        if self.strict:
            raise NothingPruned(message)
        if category not in self.told:
            self.told.add(category)
            warn(message, category)


def warn(message: str, category: type[UserWarning]) -> None:
    """Warn at the line of the caller's that called us, perhaps through torch or transformers."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("tokenprune", "torch", "transformers"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
