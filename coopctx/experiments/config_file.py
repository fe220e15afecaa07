"""A user's TOML file with the settings of a run, in place of a preset.

It may contain everything that a preset contains and, at the top level, ``preset``, whose settings it changes (default: cpu),
and ``agent``. Its pool is the list ``[[pool.members]]``.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from coopctx.errors import RunError, UsageError

ENDING = ".toml"
BASE, AGENT = "preset", "agent"  # the keys at the top level that are no sections
RESERVED = ("bench", "explored", "sweep", "tensorboard")  # folders in the results that hold other things than runs


class ConfigFile(str):
    """A file that takes a preset's place. As a text it is the file's stem, which names the folder of its runs.

    Raises UsageError for a name that cannot name that folder.
    """

    path: Path

    def __new__(cls, path: str | Path) -> ConfigFile:
        path = Path(path)
        if path.suffix != ENDING:
            raise UsageError(f"--config must be a file whose name ends in {ENDING}, not {str(path)!r}")
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", path.stem) or path.stem in RESERVED:
            allowed = f"letters, digits, ., _ and -, and not {' or '.join(RESERVED)}"
            raise UsageError(f"--config {str(path)!r}: the file's name names a folder of runs: {allowed}")
        made = super().__new__(cls, path.stem)
        made.path = path
        return made

    def __getnewargs__(self) -> tuple[Path]:  # type: ignore[override]
        return (self.path,)

    def read(self) -> dict[str, Any]:
        """The contents of the file. RunError if it cannot be read, UsageError if it is not TOML."""
        try:
            return tomllib.loads(self.path.read_bytes().decode("utf-8"))
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{self.path} is not a TOML file: {error}") from error
