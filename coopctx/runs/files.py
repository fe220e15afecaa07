"""Atomic writes, and checks of a path before it is written."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from coopctx.errors import RunError


def check_writable(directory: Path) -> None:
    """Create `directory` if it is missing; RunError if it cannot be created, read or written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunError(f"cannot write {directory}: a file is in the way where a directory should be") from error
    except OSError as error:
        raise RunError(f"cannot write {directory}: {error.strerror}") from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise RunError(f"cannot write {directory}: it is read-only, or not yours to read and write")


def check_folder(directory: Path) -> None:
    """RunError if files could not be written into ``directory``, which need not exist. Nothing is created."""
    there = next(folder for folder in (directory, *directory.parents) if folder.exists())  # / or . in the end
    if not there.is_dir():
        raise RunError(f"cannot write {directory}: {there} is a file where a directory should be")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"cannot write {directory}: {there} is read-only")


def check_ordinary(path: Path) -> None:
    """RunError if `path` exists and is not an ordinary file: a directory, a device or a pipe."""
    if path.is_dir():
        raise RunError(f"cannot write {path}: a directory is in the way")
    if path.exists() and not path.is_file():
        raise RunError(f"cannot write {path}: it is not an ordinary file")


def write_atomically(path: Path, write: Callable[[BinaryIO], object], keep: Path | None = None) -> None:
    """Replace `path` by what `write` writes. On any error the old file stays. RunError if it cannot be written.

    keep: where the old file is moved to once the new one is complete. We have our own function because the libraries for
    atomic writes do not keep the old file and do not report a full disk. `make faults` kills it at every step.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def write_parquet(path: Path, table: pa.Table) -> None:
    """Replace `path` by ``table``, as `write_atomically` does.

    Arrow writes into its own memory and never sees the Python file: Arrow threads that have used a Python file can abort the
    interpreter when it exits.
    """
    memory = pa.BufferOutputStream()
    pq.write_table(table, memory, compression="zstd")
    write_atomically(path, lambda file: file.write(memory.getvalue()))


def _sync(directory: Path) -> None:
    """Make the names in `directory` survive a power cut, on file systems that support it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def delete(directory: Path, names: Iterable[str]) -> None:
    """Delete the named files that exist; RunError if one cannot be deleted."""
    for name in names:
        try:
            (directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot delete {directory / name}: {error.strerror}") from error


def sha256(contents: bytes | memoryview) -> str:
    """The checksum as 64 hexadecimal digits."""
    return hashlib.sha256(contents).hexdigest()
