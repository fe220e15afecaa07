"""Artificial results in memory: tables of runs as `analysis.tables` reads them, from a function that gives each measurement."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from coopctx.analysis import tables
from coopctx.experiments.configuration import with_defaults
from coopctx.runs.read import Results

RUNS = ("mixed", "mixed-opponent-id", "learners", "tabular", "extortion", "mutual-extortion")
ENDS = {"ppi": 30, "a2c": 12_000}
ROUNDS = 100
KEYS = ("seed", "iteration", "learner", "opponent", "player")
_NAMED = ("tit-for-tat", "always-cooperate", "always-defect")
OPPONENTS = {
    "mixed": ("learner", "tabular", *_NAMED),
    "mixed-opponent-id": ("learner", "tabular"),
    "learners": ("learner",),
    "tabular": ("tabular", *_NAMED),
    "extortion": ("fixed-icl",),
    "mutual-extortion": ("learner",),
}


@dataclass(frozen=True)
class Where:
    """What is asked for: ``share`` of the training that is over; ``player`` ego or co."""

    agent: str
    run: str
    opponent: str
    player: str
    seed: int
    share: float


# From where to cooperation and reward in each round, [2, ROUNDS]; None where it is not measured.
Measured = Callable[[Where], np.ndarray | None]


def study(monkeypatch, measured: Measured, seeds: Callable[[str, str], int]) -> None:
    """Let `tables` find this study's runs. seeds: from an agent and a run to how many seeds there are, from 0 on."""
    grids = {agent: np.linspace(0, end, 31).astype(int) for agent, end in ENDS.items()}

    made: dict[tuple[str, str], pd.DataFrame] = {}

    class Study(Results):
        def seeds(self, name: str) -> list[int]:
            agent, run = name.split("-", 1)
            return list(range(seeds(agent, run))) if agent in ENDS else []

        def manifests(self, name: str) -> dict[int, dict]:
            return {seed: {"configuration": with_defaults({})} for seed in self.seeds(name)}

        def table(self, name: str, table: str) -> pd.DataFrame:
            if (name, table) not in made:
                made[name, table] = self._made(name, table)
            return made[name, table]

        def _made(self, name: str, table: str) -> pd.DataFrame:
            agent, run = name.split("-", 1)
            found = []
            for opponent, player, seed in itertools.product(OPPONENTS[run], ("ego", "co"), self.seeds(name)):
                for iteration in grids[agent] if table == "training" else grids[agent][[0, 8, 10, 30]]:
                    curves = measured(Where(agent, run, opponent, player, seed, iteration / ENDS[agent]))
                    if curves is not None and table != "diagnostics":
                        found.append(((seed, iteration, 1, opponent, player), curves))
            return frame(found, table == "episodes")

    monkeypatch.setattr(tables, "Results", Study)


def frame(found: list[tuple[tuple, np.ndarray]], each_round: bool) -> pd.DataFrame:
    """Rows from keys and curves [2, ROUNDS]: one per round, or one with their means."""
    if not found:
        return pd.DataFrame()
    keys = zip(*(key for key, _ in found), strict=True)
    columns = {name: np.repeat(values, ROUNDS if each_round else 1) for name, values in zip(KEYS, keys, strict=True)}
    values = np.concatenate([curves if each_round else curves.mean(1, keepdims=True) for _, curves in found], 1)
    columns |= {"cooperation_rate": values[0], "reward": values[1]}
    return pd.DataFrame(columns | ({"round": np.tile(np.arange(1, ROUNDS + 1), len(found))} if each_round else {}))
