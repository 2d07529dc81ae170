from types import SimpleNamespace

import pytest
from PIL import Image

from tokenprune.cli.pictures import enlarged, opened, seen_box


def processor(**settings):
    return SimpleNamespace(image_processor=SimpleNamespace(**settings))


def test_a_centre_crop_shows_the_middle():
    clip = processor(
        do_center_crop=True, crop_size=SimpleNamespace(height=336), size=SimpleNamespace(shortest_edge=336)
    )
    assert seen_box(clip, (672, 336)) == pytest.approx((168, 0, 504, 336))
    inner = processor(do_center_crop=True, crop_size=SimpleNamespace(height=224), size=SimpleNamespace(height=448))
    assert seen_box(inner, (448, 448)) == pytest.approx((0, 0, 448, 448))
    inner.image_processor.size = SimpleNamespace(shortest_edge=448)
    assert seen_box(inner, (448, 448)) == pytest.approx((112, 112, 336, 336))


def test_padding_shows_more_than_the_image():
    assert seen_box(processor(do_center_crop=False, do_pad=True), (200, 100)) == (0, -50, 200, 150)


def test_squeezing_shows_all_of_it():
    assert seen_box(processor(), (200, 100)) == (0, 0, 200, 100)


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
