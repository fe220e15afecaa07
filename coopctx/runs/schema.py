"""The columns of a run's tables and the names of its files (docs/data-format.md explains them)."""

from __future__ import annotations

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
STATES = ("running", "finished", "failed")
CHECKSUM = "checksum"  # the last entry of a manifest; the oldest manifests do not have it
