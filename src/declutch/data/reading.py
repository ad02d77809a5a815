"""Reading rows out of files, with errors that name the file and the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from declutch.data.cells import said
from declutch.data.file_text import file_text, find_file, unreadable
from declutch.data.table import Table as Table
from declutch.data.table import rows_of
from declutch.data.text_tables import parse_csv, parse_json, parse_jsonl
from declutch.errors import DataError
from declutch.extras import require

_BATCH_ROWS = 1000


def read_file(path: str) -> Table:
    """Read a file by its ending; one that is packed with gzip may end in .gz besides.

    Raises:
        DataError: it is missing, no regular file, damaged, in an unknown encoding, or has no rows.
        MissingExtra: pyarrow is needed and not installed.
    """
    try:
        file = find_file(path)
        table = _read(file)
    except OSError as error:
        raise unreadable(path, error) from error
    if not table.count:
        raise DataError(f"The file {path} holds no rows.")
    return table


def _read(file: Path) -> Table:
    ending = Path(file.name.lower().removesuffix(".gz")).suffix
    if ending == ".parquet":
        return _read_parquet(file)
    if ending not in _PARSERS:
        raise DataError(
            f"The file {file} needs one of the endings {', '.join(_PARSERS)} or .parquet."
        )
    text = file_text(file)
    if not text.strip():
        raise DataError(f"The file {file} is empty.")
    return _PARSERS[ending](text, str(file))


def _read_parquet(path: Path) -> Table:
    parquet = require("pyarrow.parquet", extra="data", why="reading a Parquet file")
    try:
        file = parquet.ParquetFile(path)
        columns, count = tuple(file.schema_arrow.names), int(file.metadata.num_rows)
    except Exception as error:  # pyarrow lets errors of many kinds through
        raise DataError(f"{path} is not a whole Parquet file: {said(error)}") from error
    batches = file.iter_batches(batch_size=_BATCH_ROWS)
    rows = rows_of(batches, lambda batch: batch.to_pylist(), f"{path} is damaged: {{said}}")
    return Table(str(path), columns, rows, count)


_PARSERS: Final[Mapping[str, Callable[[str, str], Table]]] = {
    ".csv": parse_csv,
    ".json": parse_json,
    ".jsonl": parse_jsonl,
    ".ndjson": parse_jsonl,
}
