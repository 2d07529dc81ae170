"""How a receipt looks in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from tokenprune.painting import COLOURS, Why

if TYPE_CHECKING:
    from tokenprune.receipt import ImageReceipt, Receipt

_REASONS = (("important", Why.IMPORTANT), ("diverse", Why.DIVERSE), ("merged", Why.MERGED))


def receipt_html(receipt: Receipt) -> str:
    """A table with a line for each image or video, and what was asked for above it; no style of its own but dots."""
    first, second, *_ = str(receipt).split("\n")
    heads = ("", "prompt", "tokens", "kept", "", *(_dot(why) + name for name, why in _REASONS), "kept of each row")
    lines = [_line(number, image) for number, image in enumerate(receipt.images)]
    return (
        f"<div><p><b>{escape(first)}</b><br>{escape(second)}</p><table><thead><tr>"
        f"{''.join(f'<th scope=col>{head}</th>' for head in heads)}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        f"<p>{escape(str(receipt).split(chr(10))[-1])}</p></div>"
    )


def _line(number: int, image: ImageReceipt) -> str:
    share = f"{100 * image.after / image.before:.1f} %" if image.before else ""
    counts = [len(image.important), len(image.diverse), len(image.merged)]
    rows = " ".join(map(str, image.rows)) if len(image.rows) > 1 else ""
    return _cells([f"{image.kind} {number}", image.sample, image.before, image.after, share, *counts, rows])


def _cells(values: Iterable[object]) -> str:
    first, *rest = (escape(str(value)) for value in values)
    return f"<tr><th scope=row>{first}</th>{''.join(f'<td>{value}</td>' for value in rest)}</tr>"


def _dot(why: Why) -> str:
    colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[why])
    return f'<span aria-hidden=true style="color:{colour}">&#9632;</span> '
