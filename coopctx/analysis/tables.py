"""The tables that claims and references read: those of the finished runs, and those of the null policies."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from coopctx.analysis import nulls
from coopctx.errors import RunError
from coopctx.experiments.configuration import with_defaults
from coopctx.experiments.pools import POOLS, options_for, pools_of
from coopctx.game.matrix import PRISONERS_DILEMMA
from coopctx.runs.read import Results
from coopctx.runs.schema import SCHEMAS

PAPER_AGENTS = {"ppi": "PPI", "a2c": "A2C"}  # the kinds that the paper makes claims about
LEARNING_AWARE = "coala"  # the kind that arXiv:2410.18636 makes claims about
RUNS = (*POOLS, "mixed-opponent-id")
PAPERS_GAME = {"payoffs": [list(row) for row in PRISONERS_DILEMMA.payoffs], "noise": 0, "continuation": 1}  # App. A.2


def tables_of(runs: Results) -> list[Tables]:
    """The tables of PPI, of A2C, and, if it has a finished run, of COALA. Raises RunError if none has."""
    learning_aware = any(runs.seeds(f"{LEARNING_AWARE}-{name}") for name in pools_of(LEARNING_AWARE))
    if not learning_aware and not any(runs.seeds(f"{agent}-{name}") for agent in PAPER_AGENTS for name in RUNS):
        command = shlex.join(["coopctx", "reproduce", *options_for(runs.folder, runs.preset)])
        nothing = f"nothing to report: no finished run under {runs.folder / runs.preset}; make some with: {command}"
        raise RunError("; ".join([nothing, *runs.left_out]))
    return [Tables(runs, agent) for agent in (*PAPER_AGENTS, *[LEARNING_AWARE] * learning_aware)]


class Tables:
    """The tables of one kind of agent and of the null policies; runs are named by their folder without the agent."""

    def __init__(self, runs: Results, agent: str) -> None:
        self.preset, self.agent = runs.preset, agent
        self._runs = runs
        self._nulls: dict[str, Mapping[str, pd.DataFrame]] = {}
        self._played: pd.DataFrame | None = None
        with runs.leaving_out_errors():
            self._played = nulls.games_against(runs.folder, runs.preset, agent)

    def read(self, run: str, table: str) -> pd.DataFrame:
        """A run's table over all finished seeds; no rows if there are none.

        Raises RunError if the game is not the paper's and the runs are not tolerant.
        """
        with self._runs.leaving_out_errors():
            where, game = self._game(run)
            for setting, value in PAPERS_GAME.items():
                if game[setting] != value:
                    raise RunError(f"the report is about the paper's game; {where} was run with game.{setting} = {game[setting]}")
            return self._runs.table(f"{self.agent}-{run}", table)
        return SCHEMAS[table].empty_table().to_pandas()

    def of_nulls(self, run: str, table: str) -> pd.DataFrame:
        """The same table of the null policies, with as many rounds as the finished runs have."""
        if run not in self._nulls:
            self._nulls[run] = nulls.tables(self.agent, run, self.rounds(run), self._played)
        return self._nulls[run][table]

    def rounds(self, run: str) -> int:
        """The rounds of a run's episodes; the paper's 100 if no seed is finished."""
        return self._game(run)[1]["rounds"]

    def _game(self, run: str) -> tuple[Path, dict[str, Any]]:
        """The folder and the game of the first finished seed (all have the same settings); the defaults if there is none."""
        name = f"{self.agent}-{run}"
        where = self._runs.folder / self.preset / name
        for seed, manifest in self._runs.manifests(name).items():
            return where / f"seed-{seed}", with_defaults(manifest["configuration"])["game"]
        return where, with_defaults({})["game"]
