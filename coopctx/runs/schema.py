"""The columns of a run's tables and the names of its files (docs/data-format.md explains them)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1  # of the manifest and the tables; a run written under another version is refused

KEYS = {"agent": pa.string(), "experiment": pa.string(), "opponent_id": pa.bool_(), "seed": pa.int64()}
MEASURES = {"player": pa.string(), "cooperation_rate": pa.float64(), "reward": pa.float64(), "episodes": pa.int64()}
WHEN = {"iteration": pa.int64(), "learner": pa.int64()}
SCHEMAS: dict[str, pa.Schema] = {
    "training": pa.schema({**KEYS, **WHEN, "opponent": pa.string(), **MEASURES}),
    "episodes": pa.schema(
        {**KEYS, **WHEN, "opponent": pa.string(), "player": pa.string(), "round": pa.int64()}
        | {name: MEASURES[name] for name in ("cooperation_rate", "reward", "episodes")}
    ),
    "diagnostics": pa.schema({**KEYS, **WHEN, "quantity": pa.string(), "value": pa.float64()}),
    "timings": pa.schema({**KEYS, "iteration": pa.int64(), "part": pa.string(), "seconds": pa.float64()}),
}
REPRODUCIBLE = ("training", "episodes", "diagnostics")  # tables that have the same rows whenever the same seed is run
CASTS: dict[pa.DataType, Callable[[Any], Any]] = {
    pa.string(): str,
    pa.bool_(): bool,
    pa.int64(): int,
    pa.float64(): float,
}

MANIFEST, CHECKPOINT, WEIGHTS, LOCK = "run.json", "checkpoint.pt", "weights.safetensors", ".lock"
PREVIOUS = "checkpoint.previous.pt"  # the last but one, used if the last one is damaged
CHECKPOINTS = (CHECKPOINT, PREVIOUS)
TABLE_FILES = {table: f"{table}.parquet" for table in SCHEMAS}
FILES = (MANIFEST, CHECKPOINT, PREVIOUS, WEIGHTS, *TABLE_FILES.values())
TEMPORARY = tuple(f"{name}.tmp" for name in FILES)
OWN_FILES = frozenset({*FILES, *TEMPORARY, LOCK})
PART = re.compile(r"data-\d+-\d+\.safetensors")  # see `part_file`
STATES = ("running", "finished", "failed")
CHECKSUM = "checksum"  # the last entry of a manifest; the oldest manifests do not have it


def part_file(learner: int, iteration: int | str) -> str:
    """The name of the file with the part of a learner's data that this iteration added (``"*"``: the pattern of them all)."""
    return f"data-{learner}-{iteration}.safetensors"


def is_part(name: str) -> bool:
    """Whether this is the name of such a file, or of its temporary one."""
    return PART.fullmatch(name.removesuffix(".tmp")) is not None


def is_own(name: str) -> bool:
    """Whether a file of this name in a run's directory is one that coopctx writes there."""
    return name in OWN_FILES or is_part(name)
