"""The table of whole games, round by round, that `coopctx evaluate --episodes` writes (docs/data-format.md)."""

from __future__ import annotations

import pyarrow as pa

from coopctx.runs.schema import KEYS

SCHEMA = pa.schema(
    {
        **KEYS,
        "preset": pa.string(),
        "learner": pa.int64(),
        "trained": pa.bool_(),
        "opponent": pa.string(),
        "game": pa.int64(),
        "round": pa.int64(),
        "player": pa.string(),
        "own": pa.string(),
        "other": pa.string(),
        **dict.fromkeys(("reward", "prediction", "bayes", "q_c", "q_d", "prior", "policy", "value"), pa.float32()),
    }
)
