"""Tables under a file name that the user chooses: Parquet or CSV by its ending. No file of another origin is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from coopctx.errors import RunError, UsageError
from coopctx.runs.files import check_ordinary, check_writable, write_atomically, write_parquet
from coopctx.runs.schema import MANIFEST, is_own

if TYPE_CHECKING:  # half a second
    import pandas as pd

ENDINGS = (".parquet", ".csv")


def check_export(path: Path, schema: pa.Schema, option: str = "--out", endings: Sequence[str] = ENDINGS) -> None:
    """Check that a table of these columns can be written to ``path``. A file there must be such a table, which is replaced.

    Raises UsageError, naming the ``option``, for an ending that is not one of ``endings``; RunError if the path cannot be
    written, holds another file, or belongs to a run.
    """
    check_ordinary(path)
    if path.suffix not in endings:
        raise UsageError(f"{option} must end in {' or '.join(endings)}, not {str(path)!r}")
    if is_own(path.name) and (path.parent / MANIFEST).exists():
        raise RunError(f"cannot write {path}: it belongs to the run there")
    if path.exists() and _columns(path) != schema.names:
        raise RunError(f"cannot write {path}: there is a file that {option} did not write; choose another name")
    check_writable(path.parent)


def export(path: Path, table: pa.Table) -> None:
    """Write ``table`` to ``path``, which `check_export` has checked. RunError if it cannot be written."""
    if path.suffix == ".parquet":
        write_parquet(path, table)
        return
    memory = pa.BufferOutputStream()
    pa.csv.write_csv(table, memory, pa.csv.WriteOptions(quoting_style="needed"))
    write_atomically(path, lambda file: file.write(memory.getvalue()))


def read_export(path: Path, schema: pa.Schema, what: str) -> pd.DataFrame:
    """The table in a Parquet file that `export` wrote; RunError naming the file if it cannot be read or is not ``what``."""
    try:
        table = pq.read_table(path)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{path} is not a Parquet file") from error
    if not table.schema.equals(schema):
        raise RunError(f"{path} does not have the columns of {what}")
    return table.to_pandas()


def _columns(path: Path) -> list[str]:
    """The columns of the table in a file; none if there is no table in it."""
    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path).names
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n").replace('"', "").split(",")
    except (OSError, ValueError):  # pyarrow's own errors are ValueErrors
        return []
