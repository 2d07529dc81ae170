import pytest
from PIL import Image

from tokenprune.cli.pictures import enlarged, opened


@pytest.mark.parametrize(
    ("size", "want"), [((128, 128), (512, 512)), ((100, 300), (500, 1500)), ((900, 448), (900, 448))]
)
def test_small_pictures_are_enlarged_by_whole_factors(size, want):
    assert enlarged(Image.new("RGB", size)).size == want


def test_pictures_are_opened_upright_and_in_colour(tmp_path):
    image, exif = Image.new("L", (30, 20)), Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    image.save(tmp_path / "turned.jpg", exif=exif)
    found = opened(tmp_path / "turned.jpg")
    assert (found.size, found.mode) == ((20, 30), "RGB")
