"""The tables that claims and references read: those of the finished runs, and those of the null policies."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from coopctx.analysis import nulls
from coopctx.errors import RunError
from coopctx.experiments.configuration import with_defaults
from coopctx.experiments.pools import POOLS, options_for, pools_of
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.runs.read import Results

AGENTS = {"ppi": "PPI", "a2c": "A2C"}  # the kinds that the paper makes claims about
LEARNING_AWARE = "coala"  # the kind that arXiv:2410.18636 makes claims about
RUNS = (*POOLS, "mixed-opponent-id")
PAPERS_GAME = {"payoffs": [list(row) for row in PRISONERS_DILEMMA.payoffs], "noise": 0, "continuation": 1}  # App. A.2


def tables_of(results: Path, preset: str) -> list[Tables]:
    """The tables of PPI, of A2C, and, if it has a finished run under results/preset, of COALA. Raises RunError if none has."""
    runs = Results(results, preset)
    learning_aware = any(runs.seeds(f"{LEARNING_AWARE}-{name}") for name in pools_of(LEARNING_AWARE))
    if not learning_aware and not any(runs.seeds(f"{agent}-{name}") for agent in AGENTS for name in RUNS):
        command = shlex.join(["coopctx", "reproduce", *options_for(results, preset)])
        raise RunError(f"nothing to report: no finished run under {results / preset}; make some with: {command}")
    return [Tables(runs, agent) for agent in (*AGENTS, *[LEARNING_AWARE] * learning_aware)]


class Tables:
    """The tables of one kind of agent and of the null policies; runs are named by their folder without the agent."""

    def __init__(self, runs: Results, agent: str) -> None:
        self.preset, self.agent = runs.preset, agent
        self._runs = runs
        self._nulls: dict[str, Mapping[str, pd.DataFrame]] = {}
        self._played = nulls.games_against(runs.folder, runs.preset, agent)

    def read(self, run: str, table: str) -> pd.DataFrame:
        """A run's table over all finished seeds; no rows if there are none. RunError if the game is not the paper's."""
        self.rounds(run)
        return self._runs.table(f"{self.agent}-{run}", table)

    def of_nulls(self, run: str, table: str) -> pd.DataFrame:
        """The same table of the null policies, with as many rounds as the finished runs have."""
        if run not in self._nulls:
            self._nulls[run] = nulls.tables(self.agent, run, self.rounds(run), self._played)
        return self._nulls[run][table]

    def rounds(self, run: str) -> int:
        """The rounds of a run's episodes; the paper's 100 if no seed is finished. RunError if its game is not the paper's."""
        name = f"{self.agent}-{run}"
        for seed, manifest in self._runs.manifests(name).items():  # all have the same settings
            game = with_defaults(manifest["configuration"])["game"]
            for setting, value in PAPERS_GAME.items():
                if game[setting] != value:
                    where = self._runs.folder / self.preset / name / f"seed-{seed}"
                    raise RunError(f"the report is about the paper's game; {where} was run with game.{setting} = {game[setting]}")
            return game["rounds"]
        return with_defaults({})["game"]["rounds"]
