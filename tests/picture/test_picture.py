from fractions import Fraction
from math import floor

import numpy as np
import pytest
from PIL import Image

from tokenprune.painting import COLOURS, DROPPED, GAP, PAPER, UNSEEN, Why
from tokenprune.picture import clip_box, overlay, sheet

IMPORTANT, DIVERSE, KEPT = (COLOURS[why] for why in (Why.IMPORTANT, Why.DIVERSE, Why.KEPT))


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def checkerboard(height, width):
    return np.indices((height, width)).sum(0) % 2 == 0


def dimmed(pixel, brightness):
    red, green, blue = (int(value) for value in pixel)
    return [round(brightness * (0.299 * red + 0.587 * green + 0.114 * blue))] * 3


def cell_of(pixel, start, stop, count):
    """The cell in which the middle of a pixel lies, exactly; None outside."""
    cell = floor((pixel + Fraction(1, 2) - start) * count / (stop - start))
    return cell if 0 <= cell < count else None


def expect(image, kept, why, box):
    """Every pixel by itself, for cells of less than 28 pixels, whose frame is one pixel wide or a fraction more."""
    pixels = np.asarray(image)
    out = np.zeros_like(pixels)
    for y, x in np.ndindex(pixels.shape[:2]):
        row = cell_of(y, box[1], box[3], kept.shape[0])
        column = cell_of(x, box[0], box[2], kept.shape[1])
        if row is None or column is None:
            out[y, x] = dimmed(pixels[y, x], UNSEEN)
        elif not kept[row, column]:
            out[y, x] = dimmed(pixels[y, x], DROPPED)
        else:
            around = [cell_of(y + step, box[1], box[3], kept.shape[0]) == row for step in (-1, 1)]
            around += [cell_of(x + step, box[0], box[2], kept.shape[1]) == column for step in (-1, 1)]
            out[y, x] = pixels[y, x] if all(around) else why[row, column]
    return out


def picture_of(panel, image):
    return np.asarray(panel)[: image.height, : image.width]


class TestOverlay:
    def test_a_checkerboard_to_the_pixel(self):
        image, kept = noise(32, 24), checkerboard(3, 4)
        why = np.broadcast_to(KEPT, (3, 4, 3))
        np.testing.assert_array_equal(picture_of(overlay(image, kept), image), expect(image, kept, why, (0, 0, 32, 24)))

    def test_cells_that_divide_no_pixels_evenly(self):
        image, kept = noise(43, 29), checkerboard(4, 5)
        why = np.broadcast_to(KEPT, (4, 5, 3))
        np.testing.assert_array_equal(picture_of(overlay(image, kept), image), expect(image, kept, why, (0, 0, 43, 29)))

    @pytest.mark.parametrize("box", [(8, 0, 32, 24), (-8, -4, 48, 28)])
    def test_the_grid_lies_on_its_box(self, box):
        image, kept = noise(40, 24), checkerboard(4, 4)
        why = np.broadcast_to(KEPT, (4, 4, 3))
        panel = overlay(image, kept, box=box)
        np.testing.assert_array_equal(picture_of(panel, image), expect(image, kept, why, box))

    def test_frames_say_why(self):
        image, kept = noise(32, 32), checkerboard(4, 4)
        important = kept & (np.arange(4) < 2)
        why = np.where(important[..., None], IMPORTANT, DIVERSE)
        panel = overlay(image, kept, important=important)
        np.testing.assert_array_equal(picture_of(panel, image), expect(image, kept, why, (0, 0, 32, 32)))

    def test_frames_grow_with_the_cells(self):
        image = Image.new("RGB", (84, 84), (10, 20, 30))
        panel = picture_of(overlay(image, [[True, False], [False, False]]), image)
        inner = (panel == (10, 20, 30)).all(-1)
        assert np.flatnonzero(inner.any(0)).tolist() == list(range(3, 39))  # cells of 42 pixels, frames of 3

    def test_scale_enlarges_the_image_under_the_same_grid(self):
        image, kept = noise(16, 12), checkerboard(3, 4)
        large = image.resize((48, 36), Image.Resampling.BICUBIC)
        got, want = overlay(image, kept, box=(0, 0, 12, 12), scale=3), overlay(large, kept, box=(0, 0, 36, 36))
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))

    def test_any_mode_of_image_will_do(self):
        image = noise(16, 16).convert("LA")
        assert overlay(image, checkerboard(2, 2)).mode == "RGB"

    def test_the_caption_counts_what_stays(self):
        image = Image.new("RGB", (200, 50))

        def caption(kept, **options):
            return np.asarray(overlay(image, kept, **options))[50:]

        few, many = np.zeros((4, 4), bool), checkerboard(4, 4)
        few[0, 0] = True
        assert (caption(few, title="a") != caption(many, title="a")).any()
        assert (caption(few, title="a") == caption(np.roll(few, 1), title="a")).all()
        assert (caption(few, title="a") != caption(few, title="b")).any()
        told = caption(many, important=few)
        assert len(told) > len(caption(many))
        assert (told == IMPORTANT).all(-1).any()
        assert (told == DIVERSE).all(-1).any()

    def test_a_long_title_is_not_cut_off(self):
        panel = np.asarray(overlay(Image.new("RGB", (40, 40)), checkerboard(2, 2), title="a title longer than this"))
        assert panel.shape[1] > 40
        assert (panel[:, 40 + GAP :] != PAPER).any()
        assert (panel[:, -1] == PAPER).all()

    @pytest.mark.parametrize(
        ("kept", "important", "message"),
        [
            (np.ones(4), None, r"kept is a grid \[h, w\]; got \(4,\)"),
            (np.ones((2, 2)), np.ones((2, 3)), r"important is \(2, 3\)"),
            (np.eye(2), np.ones((2, 2)), "2 important tokens are not among the kept ones"),
        ],
    )
    def test_grids_that_do_not_fit_are_refused(self, kept, important, message):
        with pytest.raises(ValueError, match=message):
            overlay(noise(8, 8), kept, important=important)


class TestClipBox:
    @pytest.mark.parametrize(
        ("size", "options", "box"),
        [
            ((640, 480), {}, (80, 0, 560, 480)),
            ((480, 640), {}, (0, 80, 480, 560)),
            ((100, 100), {}, (0, 0, 100, 100)),
            ((500, 500), {"crop": 224, "edge": 250}, (26, 26, 474, 474)),
            ((100, 100), {"crop": 120, "edge": 100}, (-10, -10, 110, 110)),
        ],
    )
    def test_is_what_resizing_and_cropping_leave(self, size, options, box):
        assert clip_box(size, **options) == pytest.approx(box)

    @pytest.mark.parametrize("size", [(333, 517), (701, 480), (1000, 337)])
    def test_agrees_with_pixels_that_went_that_way(self, size):
        """Columns and rows of ramps, resized and cropped as the preprocessing does, give their coordinates back."""
        ramps = [
            np.broadcast_to(np.arange(size[0]), size[::-1]),
            np.broadcast_to(np.arange(size[1])[:, None], size[::-1]),
        ]
        small = [int(336 * side / min(size)) for side in size]
        left, top = ((side - 336) // 2 for side in small)
        box = clip_box(size)
        for ramp, start, stop, axis in zip(ramps, box[:2], box[2:], (0, 1), strict=True):
            resized = Image.fromarray(ramp.astype(np.float32)).resize(small, Image.Resampling.BILINEAR)
            line = np.asarray(resized.crop((left, top, left + 336, top + 336))).mean(axis)
            want = start + (np.arange(336) + 0.5) / 336 * (stop - start) - 0.5
            np.testing.assert_allclose(line[2:-2], want[2:-2], atol=0.05)


class TestSheet:
    def test_panels_lie_in_rows_and_columns(self):
        colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
        sizes = [(10, 20), (30, 15), (12, 8)]
        page = sheet([Image.new("RGB", size, colour) for size, colour in zip(sizes, colours, strict=True)], columns=2)
        assert page.size == (12 + 30 + 3 * GAP, 20 + 8 + 3 * GAP)
        want = np.full((page.height, page.width, 3), 255)
        corners = [(GAP, GAP), (12 + 2 * GAP, GAP), (GAP, 20 + 2 * GAP)]
        for (x, y), (width, height), colour in zip(corners, sizes, colours, strict=True):
            want[y : y + height, x : x + width] = colour
        np.testing.assert_array_equal(np.asarray(page), want)

    def test_columns_beyond_the_panels_take_no_room(self):
        panel = Image.new("RGB", (10, 10))
        assert sheet([panel], columns=5).size == (10 + 2 * GAP, 10 + 2 * GAP)

    @pytest.mark.parametrize(("count", "columns"), [(0, 2), (2, 0)])
    def test_nothing_to_show_is_refused(self, count, columns):
        with pytest.raises(ValueError, match="at least one picture and one column"):
            sheet([Image.new("RGB", (4, 4))] * count, columns)
