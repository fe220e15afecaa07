"""Locks between processes: one process per run, one at a time where a file is changed in place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import lock_descriptor

from coopctx.errors import RunError
from coopctx.runs.schema import LOCK


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the directory's lock file, waiting until no other process does. The file stays."""
    with open(directory / LOCK, "ab") as file:
        lock_descriptor(file.fileno())
        yield


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock file, with this process's number in it; RunError when another process holds it."""
    path = directory / LOCK
    try:
        file = _lock(path)
    except BlockingIOError as error:
        raise RunError(f"{directory} is in use by another coopctx process ({_holder(path)})") from error
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def _lock(path: Path) -> BinaryIO:
    """The open and locked file at ``path``, with this process's number in it; BlockingIOError when another holds it."""
    while True:
        file = open(path, "a+b")  # noqa: SIM115 - it outlives this function as the lock
        try:
            if not lock_descriptor(file.fileno(), blocking=False):
                raise BlockingIOError
            if _is_at(path, file):
                file.truncate(0)
                file.write(f"process {os.getpid()}\n".encode())
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # the last holder deleted it between our opening and locking it: try the new one


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip() or "just starting"
    except (OSError, UnicodeDecodeError):
        return "just ending"
