"""Every model that is proven, by name."""

from families import crops, crossed, native, tiles

_MODULES = {"tiles": tiles, "packed": crops, "native": native, "crossed": crossed}
CASES = {name: case for module in _MODULES.values() for name, case in module.CASES.items()}


def layout(name):
    """How the images of a case are laid out."""
    return next(kind for kind, module in _MODULES.items() if name in module.CASES)
