"""Locks between processes: one process per run, and one process at a time for a shared file."""

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
    """Hold the directory's lock file; wait while another process holds it. The file is not deleted."""
    with open(directory / LOCK, "ab") as file:
        lock_descriptor(file.fileno())
        yield


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock file, which contains this process's number; RunError if another process holds it."""
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
    """The open and locked file at ``path``, which contains this process's number; BlockingIOError if another holds it."""
    while True:
        file = open(path, "a+b")  # noqa: SIM115 - the lock lasts as long as the file is open
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
        file.close()  # the last holder deleted it after we opened it and before we locked it: try again


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


def in_use(directory: Path) -> bool:
    """Whether a process holds the directory's lock file."""
    try:
        with open(directory / LOCK, "ab" if os.access(directory / LOCK, os.W_OK) else "rb") as file:
            return not lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        return False
