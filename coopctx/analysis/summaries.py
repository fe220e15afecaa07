"""Reducers: from a table's rows to a number per seed. `REDUCERS` has those that claims.toml names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import EARLY_ROUND
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import read_run_table

LAST_MEASUREMENTS = 5  # a run's final value is the mean over so many (PPI: phases)
FARTHEST = 0.1  # of the training: the largest distance of a within-episode curve from the share asked for


def run_summary(directory: Path) -> dict[str, float]:
    """A finished run's wall_seconds, and its cooperation_<opponent> and reward_<opponent>: means over its learners and its last
    measurements. Raises RunError naming a damaged file."""
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


def late_training(agent: str, quantity: str, opponent: str, training: pd.DataFrame, player: str = "ego") -> pd.Series:
    """The mean late in training by seed, over the learners (player ``ego``) or over their opponents (``co``)."""
    return _by_seed(late_rows(agent, training), quantity, opponent, player)


def late_rows(agent: str, training: pd.DataFrame) -> pd.DataFrame:
    """The rows of the late part of training (`AgentKind.late`)."""
    return training[training["iteration"] > AGENTS[agent].late_from(training["iteration"].max())]


def training_at(share: float, quantity: str, opponent: str, training: pd.DataFrame, player: str = "ego") -> pd.Series:
    """`late_training` at the one measurement nearest to a ``share`` of the training (0: before it, 1: at its end)."""
    wanted = share * training["iteration"].max()
    return _by_seed(nearest(training, wanted), quantity, opponent, player)


def within_episode(
    rounds: str, share: float, quantity: str, opponent: str, episodes: pd.DataFrame, player: str = "ego"
) -> pd.Series:
    """Mean over some ``rounds`` (see `window`) at a ``share`` of the training, by seed; player ``both``: over both sides.

    Empty if no curve was recorded at that share: exactly before training for 0, otherwise within `FARTHEST` of it.
    """
    end = episodes["iteration"].max()
    rows = episodes[episodes["iteration"] == 0] if share == 0 else nearest(episodes[episodes["iteration"] > 0], share * end)
    rows = rows[(rows["iteration"] / max(end, 1) - share).abs() <= FARTHEST]
    first, last = window(rounds, int(episodes["round"].max()))
    return _by_seed(rows[rows["round"].between(first, last)], quantity, opponent, player)


def window(name: str, rounds: int) -> tuple[int, int]:
    """First and last round of a part of an episode of ``rounds`` rounds; of 100: early 5-5, late 51-89, end 90-100, last but
    one 99-99, last 100-100. KeyError for another name."""
    tenth = rounds * 9 // 10
    return {
        "early": (EARLY_ROUND, EARLY_ROUND),
        "late": (rounds // 2 + 1, tenth - 1),
        "end": (tenth, rounds),
        "last but one": (rounds - 1, rounds - 1),
        "last": (rounds, rounds),
    }[name]


def late_prediction(agent: str, diagnostics: pd.DataFrame) -> pd.DataFrame:
    """Held-out loss of tabular players' actions late in training, nats per round, by seed: columns ``model`` and ``bayes``,
    exact Bayes on the same episodes. Only seeds that have recorded both."""
    quantities = {"nll_observation_tabular": "model", "nll_bayes_tabular": "bayes"}
    wide = late_rows(agent, diagnostics).pivot_table(index="seed", columns="quantity", values="value")
    return wide.rename(columns=quantities).reindex(columns=list(quantities.values())).dropna()


Reducer = Callable[[str, pd.DataFrame, Mapping[str, Any]], pd.Series]
# name: (the table that it reads; a function of an agent's name, that table and the arguments in claims.toml)
REDUCERS: Mapping[str, tuple[str, Reducer]] = {
    "late": ("training", lambda agent, table, arguments: late_training(agent, training=table, **arguments)),
    "at": ("training", lambda agent, table, arguments: training_at(training=table, **arguments)),
    "rounds": ("episodes", lambda agent, table, arguments: within_episode(episodes=table, **arguments)),
}


def _by_seed(rows: pd.DataFrame, quantity: str, opponent: str, player: str) -> pd.Series:
    chosen = rows[(rows["opponent"] == opponent) & ((rows["player"] == player) | (player == "both"))]
    return chosen.groupby("seed")[quantity].mean()


def nearest(rows: pd.DataFrame, iteration: float) -> pd.DataFrame:
    """The rows of the measurement nearest to an iteration."""
    if rows.empty:
        return rows
    measured = rows["iteration"].drop_duplicates()
    return rows[rows["iteration"] == measured.iloc[int((measured - iteration).abs().argmin())]]
