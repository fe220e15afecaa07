"""Check what `make smoke` made: tables as promised, numbers that can be true, figures with something on them.

Usage: python tests/smoke_check.py FOLDER, where FOLDER holds results/ and figures/.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.image import imread

from coopctx.config import load_preset
from coopctx.store import SCHEMAS, finished_seeds

PRESET = "smoke"
SEEDS = [0, 1]
OPPONENTS = {  # per condition, whom the figure shows the learner against
    "ppi-mixed": {"learner", "tabular"},
    "ppi-mixed-opponent-id": {"learner", "tabular"},
    "ppi-learners": {"learner"},
}
RANDOM_PLAYER_REWARD = 0.5  # per round, against the tabular pool; always defecting earns 1.0


def check_run(directory: Path, opponents: set[str]) -> pd.DataFrame:
    """Schema, phases and values of one run's tables. Returns its training table."""
    tables = {}
    for name, schema in SCHEMAS.items():
        table = pq.read_table(directory / f"{name}.parquet")
        assert table.schema.equals(schema), f"{directory}/{name}.parquet has {table.schema.to_string()}"
        tables[name] = table.to_pandas()
        assert len(tables[name]), f"{directory}/{name}.parquet is empty"
    phases = list(range(1, load_preset(PRESET).ppi.phases + 1))
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
    image = imread(folder / "fig1.png")[..., :3]
    assert image.std() > 0.05, "fig1.png is blank"
    pdf = (folder / "fig1.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and len(pdf) > 5000, "fig1.pdf is blank"


def main(folder: Path) -> None:
    for name, opponents in OPPONENTS.items():
        seeds = finished_seeds(folder / "results", PRESET, name)
        assert seeds == SEEDS, f"{name}: finished seeds {seeds}"
        training = pd.concat(check_run(folder / "results" / PRESET / name / f"seed-{seed}", opponents) for seed in seeds)
        if "tabular" in opponents:
            reward = training.query("opponent == 'tabular' and player == 'ego'")["reward"].mean()
            assert reward > RANDOM_PLAYER_REWARD, f"{name}: reward {reward:.2f} against tabular players, no more than random play"
    check_figures(folder / "figures")
    print("smoke: tables, values and figures are as they should be")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
