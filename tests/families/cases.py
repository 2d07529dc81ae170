"""Every model that is proven, by name."""

from families import crops, native, tiles, videos

_MODULES = {"tiles": tiles, "packed": crops, "native": native}
CASES = {name: case for module in _MODULES.values() for name, case in module.CASES.items()}
VIDEOS = videos.CASES  # by the same names
AS_IMAGES = ("internvl", "smolvlm")  # their processors hand the frames of a video on as images


def layout(name):
    """How the images of a case are laid out."""
    return next(kind for kind, module in _MODULES.items() if name in module.CASES)
