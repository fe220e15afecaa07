"""The test of strict extortion as a table and a sentence, from the fits that `coopctx extort-probe` writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coopctx.analysis.extortion import fit_cells, in_a_word
from coopctx.errors import RunError
from coopctx.experiments.agents import AGENTS
from coopctx.runs.read import Results

DECIDES = ("all", "exact")  # the co-players whose rows decide; "exact": known strategies, computed without games
ANSWERS = {
    "yes": "the Step-2 agents are strict extorters",
    "no": "the Step-2 agents are not strict extorters",
    "cannot tell": "it cannot be told whether the Step-2 agents are strict extorters",
}


@dataclass(frozen=True)
class ExtortionTest:
    """The test of one kind of agent.

    answer: about its Step-2 agents. rows: player, co-players, χ, its interval, distance from the line, whether it extorts.
    """

    agent: str
    answer: str
    rows: tuple[tuple[str, ...], ...]


def extortion_fits(folder: Path, preset: str, agent: str) -> pd.DataFrame | None:
    """The fits that `coopctx extort-probe` wrote for this kind of agent; None without them. RunError if the file is damaged."""
    path = folder / preset / f"{agent}-extortion-slopes.parquet"
    if not path.exists():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}") from error


def extortion_tests(runs: Results) -> list[ExtortionTest]:
    """The rows that decide, for each kind of agent that was tested."""
    found = []
    for agent in AGENTS:
        with runs.leaving_out_errors():
            fits = extortion_fits(runs.folder, runs.preset, agent)
            if fits is not None:
                rows = [fit for fit in fits.to_dict("records") if fit["met"] in DECIDES]
                step_2 = [in_a_word(fit["extorts"]) for fit in rows if fit["player"] == "Step 2"]
                found.append(ExtortionTest(agent, ANSWERS[step_2[0]] if step_2 else "not tested", tuple(map(_row, rows))))
    return found


def _row(fit: dict[Any, Any]) -> tuple[str, ...]:
    met = "computed exactly" if fit["met"] == "exact" else f"{fit['co_players']} played"
    slope, between, residual, _, extorts = fit_cells(fit)
    return fit["player"], met, slope, between, residual, extorts
