"""The table of whole games, round by round, that `coopctx evaluate --episodes` writes (docs/data-format.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from coopctx.analysis.intervals import Floats
from coopctx.runs.export import read_export
from coopctx.runs.schema import KEYS

FILE = "games.parquet"  # beside the runs of a preset: the games that the figure of the episodes shows

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
OUTCOMES = ("CC", "CD", "DC", "DD")  # a round from the ego's side, its own action first


@dataclass(frozen=True)
class Scene:
    """Games of one agent against one opponent, ``[games, rounds]``, from the ego's side.

    agent, experiment, seed, preset, trained, opponent: as in the table. outcomes: indices of `OUTCOMES`, -1 after a game's
    end. prediction, bayes: the agent's and an exact Bayesian observer's probability that the co-player cooperates; policy: that
    the agent does; nan where there is none.
    """

    agent: str
    experiment: str
    seed: int
    preset: str
    trained: bool
    opponent: str
    outcomes: NDArray[np.int64]
    prediction: Floats
    bayes: Floats
    policy: Floats

    def shares(self, first: int, last: int) -> dict[str, float]:
        """The share of each outcome in the rounds ``first`` to ``last``, counted from 1 and both included."""
        within = self.outcomes[:, first - 1 : last]
        played = within[within >= 0]
        return {name: float((played == code).mean()) if len(played) else math.nan for code, name in enumerate(OUTCOMES)}

    def hit(self, expected: Floats) -> float:
        """The mean probability that ``expected`` (prediction or bayes) gives to what the co-player then does; nan without any."""
        cooperated = np.isin(self.outcomes, (0, 2))
        given = np.where(cooperated, expected, 1 - expected)[self.outcomes >= 0]
        return float(given.mean()) if len(given) else math.nan


def read(path: Path) -> pd.DataFrame:
    """The table in a file of whole games; RunError naming the file where it is missing or another one."""
    return read_export(path, SCHEMA, "whole games (coopctx evaluate --episodes)")


def scenes(table: pd.DataFrame) -> list[Scene]:
    """The games by agent and opponent, in the order in which they were played."""
    keys = ["agent", "experiment", "seed", "preset", "learner", "trained", "opponent"]
    groups = table[table["player"] == "ego"].groupby(keys, sort=False, dropna=False)
    return [_scene(dict(zip(keys, named, strict=True)), rows) for named, rows in groups]


def _scene(keys: dict[str, Any], rows: pd.DataFrame) -> Scene:
    keys.pop("learner")
    shape = int(rows["game"].max()) + 1, int(rows["round"].max())
    place = rows["game"].to_numpy(), rows["round"].to_numpy() - 1
    outcomes = np.full(shape, -1)
    outcomes[place] = (rows["own"] + rows["other"]).map(OUTCOMES.index)

    def spread(name: str) -> Floats:
        values = np.full(shape, np.nan)
        values[place] = rows[name]
        return values

    return Scene(**keys, outcomes=outcomes, prediction=spread("prediction"), bayes=spread("bayes"), policy=spread("policy"))
