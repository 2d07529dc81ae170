"""Rows of a table in a file: JSONL, JSON, CSV or parquet, as mappings of column to value."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenprune.measure.task import TaskError

Record = dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """Every row of a file, or of the one table in a folder.

    Raises:
        TaskError: there is no such file, it is in no known format, or it cannot be read.
    """
    path = _table_in(path) if path.is_dir() else path
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise TaskError(
            f"cannot read the table {str(path)!r}: its name ends in none of {', '.join(READERS)}; tasks that need no "
            "table are scenes, sparse and crowded"
        )
    if not path.is_file():
        raise TaskError(f"there is no table at {str(path)!r}")
    try:
        return reader(path)
    except TaskError:
        raise
    except (OSError, UnicodeError, ValueError, csv.Error) as problem:
        raise TaskError(f"cannot read the table {str(path)!r}: {problem}") from problem


def table_path(path: Path) -> Path:
    """The file that `read_records` reads."""
    return _table_in(path) if path.is_dir() else path


def _table_in(folder: Path) -> Path:
    found = sorted(one for one in folder.iterdir() if one.suffix.lower() in READERS)
    if len(found) != 1:
        told = ", ".join(one.name for one in found) or "none"
        raise TaskError(
            f"a folder of questions holds one table ({', '.join(READERS)}); {str(folder)!r} holds {told}. Name the file"
        )
    return found[0]


def _jsonl(path: Path) -> list[Record]:
    found: list[Record] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                found.append(_mapping(_parsed(line, path, number), path, number))
    return found


def _parsed(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as problem:
        raise TaskError(f"line {number} of {str(path)!r} is not JSON: {problem}") from problem


def _json(path: Path) -> list[Record]:
    data = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(data, list):
        raise TaskError(f"{str(path)!r} holds a {type(data).__name__}; a table is a list of objects")
    return [_mapping(one, path, number) for number, one in enumerate(data, 1)]


def _mapping(value: Any, path: Path, number: int) -> Record:
    if not isinstance(value, Mapping):
        raise TaskError(f"row {number} of {str(path)!r} is a {type(value).__name__}; a row maps columns to values")
    return dict(value)


def _csv(path: Path) -> list[Record]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        rows, names = list(reader), reader.fieldnames or ()
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise TaskError(f"{str(path)!r} has several columns {twice!r}; a name stands for one")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise TaskError(f"row {number} of {str(path)!r} has another number of fields than its heading")
    return [dict(row) for row in rows]


def _parquet(path: Path) -> list[Record]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as problem:
        raise TaskError(
            "parquet files are read by pyarrow, which is not installed: pip install 'tokenprune-vlm[parquet]'"
        ) from problem
    rows: list[Record] = parquet.read_table(path).to_pylist()
    return rows


READERS: Mapping[str, Callable[[Path], list[Record]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
