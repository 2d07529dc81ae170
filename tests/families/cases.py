"""Every model that is proven, by name."""

from families import crops, crossed, native, ragged, slices, special, tiles

_MODULES = [
    ("tiles", tiles),
    ("packed", crops),
    ("native", native),
    ("native", ragged),
    ("native", slices),
    ("special", special),
    ("crossed", crossed),
]
CASES = {name: case for _, module in _MODULES for name, case in module.CASES.items()}


def layout(name):
    """How the images of a case are laid out."""
    return next(kind for kind, module in _MODULES if name in module.CASES)
