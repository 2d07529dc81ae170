"""A task of one's own: rows of a file with an image, a question and its answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenprune.measure.metrics import Metric
from tokenprune.measure.records import Record, read_records, table_path
from tokenprune.measure.row import Row
from tokenprune.measure.task import Task, TaskError, stem

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Columns:
    """Which column holds what.

    Args:
        image: a path, from ``images`` or the table's folder on; or the file itself, as in parquet files of the hub.
        question: the question.
        answer: the right answer, or a list of what several people answered.
        key: what tells rows apart. None: their number.
        kind: category, for metrics that have some. None: all alike.
        choices: a list of texts, for the letters A, B, ... None: no choices.
        images: the folder that paths of images begin at. None: that of the table.
    """

    image: str = "image"
    question: str = "question"
    answer: str = "answer"
    key: str | None = None
    kind: str | None = None
    choices: str | None = None
    images: Path | None = None


def local(source: Path, metric: Metric, columns: Columns = Columns(), limit: int | None = None) -> Task:
    """A task of a JSONL, JSON, CSV or parquet file, or of a folder that holds one.

    Rows without an image, a question or an answer, and rows whose image is missing, are skipped, and the task says
    which and why; the metric ``none`` needs no answers. A file that is there and no picture is found when it is opened.

    Raises:
        TaskError: no such file, or a column is missing.
    """
    records, path = read_records(source), table_path(source)
    _check_columns(records, columns, metric, path)
    rows, skipped = [], {}
    for number, record in enumerate(records[:limit]):
        own = number if columns.key is None else record.get(columns.key)
        if own in (None, ""):
            skipped[f"row {number}"] = "no key"
            continue
        key = str(own)
        made = _row(key, record, columns, metric, columns.images or path.parent)
        if isinstance(made, Row):
            rows.append(made)
        else:
            skipped[key] = made
    return Task(stem(path.resolve()), rows, metric, skipped)


def _check_columns(records: list[Record], columns: Columns, metric: Metric, path: Path) -> None:
    wanted = {name: getattr(columns, name) for name in ("image", "question", "answer", "key", "kind", "choices")}
    if metric.judges == "none" and columns.answer == Columns.answer:
        del wanted["answer"]  # read if it is there; one that is named has to be
    there = dict.fromkeys(name for record in records for name in record)
    for role, name in wanted.items():
        if records and name is not None and name not in there:
            raise TaskError(
                f"{str(path)!r} has no column {name!r} for the {role}; it has {', '.join(map(repr, there))}. "
                f"Name the right one: --columns {role}=NAME"
            )


def _row(key: str, record: Record, columns: Columns, metric: Metric, folder: Path) -> Row | str:
    """The row, or why there is none."""
    question, answers = _texts(record.get(columns.question)), _texts(record.get(columns.answer))
    if question is None or len(question) != 1:
        return "several questions, or something that is no text" if question != () else "no question"
    if answers is None:
        return f"the answer is no text and no list of texts: {str(record[columns.answer])[:40]}"
    if not answers and metric.judges != "none":
        return "no answer"
    found = _image(record.get(columns.image), folder)
    if isinstance(found, str):
        return found
    image, opened = found
    kind = str(record.get(columns.kind) or "") if columns.kind else ""
    choices = _texts(record.get(columns.choices)) if columns.choices else ()
    return Row(key, question[0], answers, opened, image, kind, choices or ())


def _texts(value: Any) -> tuple[str, ...] | None:
    """One text or several, blank ones left out; a text that is a JSON list, as CSV files hold them, is several.

    None: there is something else in it, such as a mapping.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return (value.strip(),)
    parts = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(one, Mapping | list | tuple | bytes) for one in parts):
        return None
    return tuple(str(one).strip() for one in parts if one is not None and one == one and str(one).strip())  # NaN: none


def _image(value: Any, folder: Path) -> tuple[str, Callable[[], Image]] | str:
    """What an image is called and how it is opened; or why it cannot be."""
    if isinstance(value, list | tuple) and value:
        if len(value) > 1:
            return f"{len(value)} images; a question is about one"
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()[:16], partial(_opened, value)
    if not isinstance(value, str) or not value.strip():
        return "no image"
    try:
        path = folder / Path(value).expanduser()
        there = path.is_file()
    except (OSError, RuntimeError):  # longer than a name can be, or of a user that there is not
        there = False
    return (value, partial(_opened, path)) if there else f"there is no image at {_cut(value)!r}"


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def _opened(source: Path | bytes) -> Image:
    """Upright, in RGB.

    Raises:
        OSError, ValueError: it is no picture that Pillow can read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (SyntaxError, Image.DecompressionBombError) as problem:
        raise ValueError(str(problem)) from problem
