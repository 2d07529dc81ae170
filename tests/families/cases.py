"""Every model that is proven, by name."""

from families import crops, crossed, latents, native, ragged, sized, slices, squares, stand_ins, tiles, videos, views

_MODULES = {
    "tiles": (tiles, squares, stand_ins),
    "packed": (crops,),
    "native": (native, ragged, slices, sized),
    "views": (views,),
    "latents": (latents,),
    "crossed": (crossed,),
}
CASES = {name: case for modules in _MODULES.values() for module in modules for name, case in module.CASES.items()}
VIDEOS = videos.CASES  # by the same names
AS_IMAGES = ("internvl", "smolvlm")  # their processors hand the frames of a video on as images


def layout(name):
    """How the images of a case are laid out."""
    return next(kind for kind, modules in _MODULES.items() if any(name in module.CASES for module in modules))
