"""The checkpoint: the file from which a killed run resumes."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from coopctx.errors import RunError
from coopctx.runs.files import sha256, write_atomically

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
        raise RunError(f"{path} is damaged (its checksum does not match); --fresh starts the run over")
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:  # intact, but written by another torch
        raise RunError(f"{path} cannot be read by torch {torch.__version__}; --fresh starts the run over") from error
