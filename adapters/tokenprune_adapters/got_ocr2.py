"""GOT-OCR2 and PP-Chart2Table: windowed attention of its own, of which no cue is read; 4 x 4 patches a token."""

from typing import Any

from tokenprune.family import Family, Tower, square
from tokenprune.layouts import Tiles


def _grid(config: Any) -> tuple[int, int]:
    height, width = square(config)
    return height // 4, width // 4


GOT_OCR2 = Family(
    model_types=("got_ocr2", "pp_chart2table"),
    towers={"got_ocr2_vision": Tower(attention=()), "pp_chart2table_vision": Tower(attention=())},
    projector=None,
    feature_layer=lambda config: -1,
    layout=Tiles(grid=_grid, merge=lambda config: 4),
)
