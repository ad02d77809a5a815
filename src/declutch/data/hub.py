"""Reading rows of a data set on the Hugging Face hub, through ``datasets``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from declutch.data.sources import Source
from declutch.data.table import Table, rows_of
from declutch.errors import DataError
from declutch.extras import require

_BATCH_ROWS = 1000


def read_hub(source: Source) -> Table:
    """Read a hub data set; a folder of that name in the working directory is taken first.

    The second is what ``datasets`` does, and a way to work without a network.

    Raises:
        DataError: the data set is missing, gated or out of reach, or has no such split,
            configuration or revision.
        MissingExtra: ``datasets`` is not installed.
    """
    datasets = require("datasets", extra="data", why="reading a data set from the hub")
    try:
        dataset = datasets.load_dataset(
            source.name, source.config, split=source.split, revision=source.revision
        )
    except Exception as error:
        # Besides its own errors the library lets those of the hub client, of httpx, of pyarrow
        # and of fsspec through; none of them leaves anything half done.
        raise DataError(_explained(source, error)) from error
    folder = Path(source.name)
    note = (
        f"read from the folder {folder.absolute()}, not from the hub"
        if os.path.isdir(folder)
        else ""
    )
    return table_of_dataset(dataset, f"{source.name} (split {source.split})", note)


def table_of_dataset(dataset: Any, name: str, note: str = "") -> Table:
    """The rows of a ``datasets.Dataset``, read in batches."""
    return Table(name, tuple(dataset.column_names), _rows(dataset, name), len(dataset), note)


def _rows(dataset: Any, name: str) -> Iterator[Mapping[str, Any]]:
    columns = tuple(dataset.column_names)

    def rows(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        cells = zip(*(batch[column] for column in columns), strict=True)
        return [dict(zip(columns, each, strict=True)) for each in cells]

    return rows_of(
        dataset.with_format(None).iter(batch_size=_BATCH_ROWS),
        rows,
        f"{name} can't be read to its end: {{said}}. Leave out the columns that are not needed, or "
        "fetch the data set again.",
    )


def _explained(source: Source, error: Exception) -> str:
    """One paragraph: what happened and what to do."""
    said = " ".join(str(error).split())
    page = f"https://huggingface.co/datasets/{source.name}"
    lower = said.lower()
    if "gated" in lower:
        return (
            f"The hub data set {source.name} is gated: its owner asks for your consent first. "
            f"Accept the terms at {page}, then log in with «hf auth login» (or set HF_TOKEN)."
        )
    if isinstance(error, ConnectionError) or "offline" in lower or "couldn't reach" in lower:
        return (
            f"The hub data set {source.name} can't be reached, and this machine holds no copy. "
            f"Check the network, and that HF_HUB_OFFLINE is not set; or, on a machine with a "
            f"network, run «hf download --repo-type dataset {source.name} --local-dir "
            f"{source.name}», bring that folder over, and start declutch in the folder above it; "
            "a CSV, JSON, JSONL or Parquet file of the data does as well."
        )
    if type(error).__name__ == "DatasetNotFoundError":
        revision = f" or has no revision «{source.revision}»" if source.revision else ""
        return (
            f"The hub has no data set {source.name}{revision}, or it is private. Look at {page} "
            "for the exact name; for a private one log in with «hf auth login» (or set HF_TOKEN)."
        )
    if "scripts are no longer supported" in lower:
        return (
            f"The hub data set {source.name} is made by a script, which is never run. The hub "
            f"keeps a Parquet copy of many of them: try hub:{source.name}@refs/convert/parquet."
        )
    if "config name is missing" in lower or "builderconfig" in lower:
        return (
            f"The hub data set {source.name} has no configuration «{source.config or 'default'}», "
            f"or needs one to be named. Choose one with config=NAME. The hub client says: {said}"
        )
    if "split" in lower:
        return (
            f"The hub data set {source.name} has no split «{source.split}». Choose one with "
            f"split=NAME. The hub client says: {said}"
        )
    return (
        f"The hub data set {source.name} can't be read: {said or type(error).__name__}. Look at "
        f"{page} for its splits and configurations."
    )
