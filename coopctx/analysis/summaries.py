"""What a run's training table comes to: means late in training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from coopctx.experiments.agents import AGENTS
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import read_run_table

LAST_MEASUREMENTS = 5  # what a run is summed up by: the mean over the last ones (PPI: each phase is one)


def summary(directory: Path) -> dict[str, float]:
    """What a finished run came to: wall_seconds, and cooperation_<opponent> and reward_<opponent>, which are means over
    its learners and its last measurements. Raises RunError naming a damaged file."""
    last = last_measurements(read_run_table(directory, "training").to_pandas())
    means = last[last.player == "ego"].groupby("opponent")[["cooperation_rate", "reward"]].mean()
    measured = {
        f"{short}_{opponent}": float(means.loc[opponent, column])
        for opponent in means.index
        for short, column in (("cooperation", "cooperation_rate"), ("reward", "reward"))
    }
    return {**measured, "wall_seconds": read_manifest(directory)["wall_seconds"]}


def last_measurements(training: pd.DataFrame) -> pd.DataFrame:
    """The rows of a training table that belong to its last `LAST_MEASUREMENTS` iterations."""
    return training[training["iteration"].isin(training["iteration"].drop_duplicates().nlargest(LAST_MEASUREMENTS))]


def late_training(agent: str, quantity: str, opponent: str, training: pd.DataFrame) -> pd.Series:
    """The learners' mean against ``opponent`` late in training, by seed."""
    rows = late_rows(agent, training)
    return rows[(rows["opponent"] == opponent) & (rows["player"] == "ego")].groupby("seed")[quantity].mean()


def late_rows(agent: str, training: pd.DataFrame) -> pd.DataFrame:
    """The rows of the late part of training (`AgentKind.late`)."""
    return training[training["iteration"] > AGENTS[agent].late_from(training["iteration"].max())]
