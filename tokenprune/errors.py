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
    ├── RefusedFamily                 this model cannot be pruned, and the reason is known
    ├── AlreadyAttached               one model, one pipeline
    ├── UnsupportedMode               this call would go wrong, so it is refused
    └── NothingPruned                 ``strict=True`` and every token stayed

NothingPrunedWarning, UnprunedInputWarning (UserWarning)
"""


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


class RefusedFamily(AttachError):
    """Models of this type cannot be pruned, and the reason is known."""


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
