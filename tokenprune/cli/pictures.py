"""Pictures in and out: reading what is asked about, writing what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokenprune.cli.terminal import CommandError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = (".png", ".jpg", ".jpeg", ".webp")
LEAST = 448  # pixels along the shorter side, below which a picture is enlarged


def opened(path: Path) -> Image:
    """The picture in a file, in RGB and upright.

    Raises:
        CommandError: there is no such file, or it holds no picture that Pillow can read.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise CommandError(f"there is no image at {str(path)!r}")
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        reason = "it is no picture, or in no format that is known" if "identify" in str(problem) else problem
        raise CommandError(f"cannot read the image {str(path)!r}: {reason}") from problem


def check_target(path: Path) -> None:
    """See whether a picture can be written, before anything is computed.

    Raises:
        CommandError: its folder is missing, or its ending names no format.
    """
    if not path.parent.is_dir():
        raise CommandError(f"there is no folder {str(path.parent)!r} to write {path.name!r} to")
    if path.is_dir() or path.suffix.lower() not in FORMATS:
        raise CommandError(f"cannot write a picture to {str(path)!r}; name a file that ends in {', '.join(FORMATS)}")


def save(picture: Image, path: Path) -> None:
    """Write a picture.

    Raises:
        CommandError: it cannot be written there.
    """
    try:
        picture.save(path)
    except OSError as problem:
        raise CommandError(f"cannot write the picture to {str(path)!r}: {problem}") from problem


def enlarged(image: Image, least: int = LEAST) -> Image:
    """A small picture in whole multiples of its size, so that its tokens can be told apart."""
    factor = max(1, -(-least // min(image.size)))
    return image.resize((image.width * factor, image.height * factor)) if factor > 1 else image
