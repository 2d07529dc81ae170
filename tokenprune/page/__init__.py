"""One HTML file that shows what pipelines keep of images: no server, no other file, nothing asked of the network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from string import Template
from typing import Any

from PIL import Image

from tokenprune.painting import COLOURS, HEAT

MOST, FEW = 1280, 512  # pixels along a side: larger pictures are made smaller; those below FEW stay as they are


class _Page(Template):
    delimiter = "@@"


def page(title: str, lead: str, facts: Mapping[str, str], budgets: Sequence[str], items: Sequence[Any]) -> str:
    """The text of the file.

    Args:
        title: its heading.
        lead: a sentence below it.
        facts: what else the reader should know, by name.
        budgets: the stops of the slider.
        items: one for each picture and question, as `tokenprune.page.items.item` makes them.
    """
    data = {
        "lead": lead,
        "facts": list(facts.items()),
        "budgets": list(budgets),
        "items": list(items),
        "colours": {int(why): colour for why, colour in COLOURS.items()},
        "heat": HEAT,
    }
    return _Page(_part("page.html")).substitute(
        title=escape(title), style=_part("page.css"), script=_part("page.js"), data=_harmless(data)
    )


def _part(name: str) -> str:
    return files("tokenprune.page").joinpath(name).read_text(encoding="utf-8")


def _harmless(data: Any) -> str:
    """JSON in which no text can end the element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def inlined(image: Image.Image) -> str:
    """A picture as a data URI: small ones exactly, photographs as JPEG of at most ``MOST`` pixels a side."""
    image, file = image.convert("RGB"), BytesIO()
    if max(image.size) <= FEW:
        image.save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    image.thumbnail((MOST, MOST), Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
