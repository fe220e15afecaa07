"""The checkpoint: the file from which a killed run resumes, and the parts of the data, written once, that it refers to."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopctx.errors import RunError
from coopctx.runs.files import sha256, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_HEADER = b"coopctx checkpoint 1 sha256 "


def write_checkpoint(path: Path, keep: Path | None, contents: dict[str, Any]) -> None:
    """Write ``contents`` in the format of `torch.save`, after a header line with their checksum, which detects any damage.

    keep: where the old checkpoint is moved to (`write_atomically`).
    """
    import torch

    buffer = io.BytesIO()
    torch.save(contents, buffer)
    payload = buffer.getbuffer()
    header = CHECKPOINT_HEADER + sha256(payload).encode() + b"\n"
    write_atomically(path, lambda file: file.writelines((header, payload)), keep)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents that `write_checkpoint` wrote; RunError if the file is damaged or cannot be read."""
    import torch

    try:
        with open(path, "rb") as file:
            header, payload = file.readline(200), file.read()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    if header != CHECKPOINT_HEADER + sha256(payload).encode() + b"\n":
        raise _damaged(path)
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:  # intact, but written by another torch
        raise RunError(f"{path} cannot be read by torch {torch.__version__}; --fresh starts the run over") from error


def write_part(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors to a file of their own, in the safetensors format. Returns its checksum, which the checkpoint keeps."""
    from safetensors.torch import save

    contents = save(dict(tensors))
    write_atomically(path, lambda file: file.write(contents))
    return sha256(contents)


def check_part(path: Path, checksum: str) -> None:
    """RunError if the file cannot be read or is not what `write_part` wrote."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; --fresh starts the run over") from error
    if found != checksum:
        raise _damaged(path)


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} is damaged; --fresh starts the run over")
