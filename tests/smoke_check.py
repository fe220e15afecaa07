"""Check the output of `make smoke`: the tables' columns, possible numbers, figures that are not empty.

Usage: python tests/smoke_check.py FOLDER, where FOLDER holds results/ and figures/.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.image import imread

from coopctx.experiments.presets import load_preset
from coopctx.figures import PAPER_FIGURES
from coopctx.runs.read import Results
from coopctx.runs.schema import SCHEMAS

PRESET = "smoke"
SEEDS = [0, 1]
OPPONENTS = {  # per condition, whom the figures show the learner against
    "ppi-mixed": {"learner", "tabular"},
    "ppi-mixed-opponent-id": {"learner", "tabular"},
    "ppi-learners": {"learner"},
    "ppi-tabular": {"tabular"},
    "ppi-extortion": {"fixed-icl"},
    "ppi-mutual-extortion": {"learner"},
}
FURTHER_SEEDS = {"ppi-tabular": [2], "ppi-extortion": [2]}  # Step 3 of seed 1 needs Step 2 of seed 2
FIRST_PHASE = {"ppi-mutual-extortion": 0}  # measured before any training too
RANDOM_PLAYER_REWARD = 0.5  # per round, against the tabular pool; always defecting earns 1.0


def check_run(directory: Path, opponents: set[str], first_phase: int) -> pd.DataFrame:
    """Schema, phases and values of one run's tables. Returns its training table."""
    tables = {}
    for name, schema in SCHEMAS.items():
        table = pq.read_table(directory / f"{name}.parquet")
        assert table.schema.equals(schema), f"{directory}/{name}.parquet has {table.schema.to_string()}"
        tables[name] = table.to_pandas()
        assert len(tables[name]), f"{directory}/{name}.parquet is empty"
    phases = list(range(first_phase, load_preset(PRESET).ppi.phases + 1))
    training = tables["training"]
    for key, rows in training.groupby(["learner", "opponent", "player"]):
        measured = sorted(rows["iteration"])
        assert measured == phases, f"{directory}: {key} was measured at phases {measured}"
    assert opponents <= set(training["opponent"]), f"{directory} was measured against {set(training['opponent'])}"
    for name in ("training", "episodes"):
        check_play(tables[name], f"{directory}/{name}.parquet")
    assert np.isfinite(tables["diagnostics"]["value"]).all(), f"{directory}/diagnostics.parquet: values that are not finite"
    return training


def check_play(table: pd.DataFrame, where: str) -> None:
    """Rates are rates, and rewards follow from both players' actions: in this game, 2 · the other's rate − one's own."""
    assert table["cooperation_rate"].between(0, 1).all(), f"{where}: cooperation rates outside [0, 1]"
    assert (table["episodes"] > 0).all(), f"{where}: measurements over no episodes"
    values = ["cooperation_rate", "reward"]
    keys = [name for name in table if name not in {*values, "player"}]
    both = table.pivot(index=keys, columns="player", values=values)
    for player, other in (("ego", "co"), ("co", "ego")):
        implied = 2 * both["cooperation_rate"][other] - both["cooperation_rate"][player]
        follow = np.allclose(both["reward"][player], implied, atol=1e-5)
        assert follow, f"{where}: rewards of {player} do not follow from the actions"


def check_figures(folder: Path) -> None:
    for name in PAPER_FIGURES:
        image = imread(folder / f"{name}.png")[..., :3]
        assert image.std() > 0.05, f"{name}.png is blank"
        pdf = (folder / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF") and len(pdf) > 5000, f"{name}.pdf is blank"


def check_report(folder: Path) -> None:
    """Every claim about an agent that has runs is measured, and the page holds every figure."""
    markdown = (folder / "report.md").read_text()
    table = markdown.split("**PPI, ")[1].split("\n\n")[1]
    assert table.count("\n") > 20 and "not run" not in table, "report.md lacks measured claims"
    page = (folder / "report.html").read_text()
    lacking = [name for name in PAPER_FIGURES if f"<b>Figure {name.removeprefix('fig')}A" not in page]
    assert not lacking, f"report.html lacks {lacking}"
    assert "show nothing about the paper" in page and "show nothing about the paper" in markdown, "smoke does not say that it is smoke"


def main(folder: Path) -> None:
    for name, opponents in OPPONENTS.items():
        seeds = Results(folder / "results", PRESET).seeds(name)
        assert seeds == SEEDS + FURTHER_SEEDS.get(name, []), f"{name}: finished seeds {seeds}"
        runs, first = folder / "results" / PRESET / name, FIRST_PHASE.get(name, 1)
        training = pd.concat(check_run(runs / f"seed-{seed}", opponents, first) for seed in seeds)
        if "tabular" in opponents:
            reward = training.query("opponent == 'tabular' and player == 'ego'")["reward"].mean()
            assert reward > RANDOM_PLAYER_REWARD, f"{name}: reward {reward:.2f} against tabular players, no more than random play"
    check_figures(folder / "figures")
    check_report(folder / "figures")
    print("smoke: tables, values, figures and report are as they should be")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
