"""Claims of arXiv:2410.18636: shown as soon as there is a run of COALA, each row from the rows that its name says, and not counted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coopctx.analysis import claims, nulls
from coopctx.analysis.intervals import difference, estimate
from coopctx.experiments.configuration import with_defaults
from coopctx.experiments.pools import COALA_POOLS
from coopctx.experiments.presets import seen_seeds
from coopctx.report.markdown import markdown_tables
from coopctx.report.rows import headline
from coopctx.runs.read import Results

SEEDS = 3
RUNS = tuple(COALA_POOLS)
ITERATIONS = range(0, 101, 10)


def level(run: str, opponent: str, player: str, seed: int, iteration: int, last: bool = False) -> float:
    """A reward that differs wherever it is measured elsewhere; cooperation is a tenth of it."""
    place = 0.05 * RUNS.index(run) + 0.02 * (opponent == "naive") + 0.01 * (player == "co")
    return place + 0.001 * (seed + 1) ** 2 + 0.0001 * iteration + 0.3 * last


class Study(Results):
    """Results with all of COALA's runs and nothing else."""

    def seeds(self, name: str) -> list[int]:
        return list(range(SEEDS)) if name.removeprefix("coala-") in RUNS else []

    def manifests(self, name: str) -> dict[int, dict]:
        return {seed: {"configuration": with_defaults({})} for seed in self.seeds(name)}

    def table(self, name: str, table: str) -> pd.DataFrame:
        run = name.removeprefix("coala-")
        if not self.seeds(name):
            return pd.DataFrame()
        found = []
        for seed, opponent, player in [(s, o, p) for s in range(SEEDS) for o in ("learner", "naive") for p in ("ego", "co")]:
            for iteration in ITERATIONS if table == "training" else (100,):
                keys = {"seed": seed, "learner": 1, "opponent": opponent, "player": player, "iteration": iteration}
                for number in (1,) if table == "training" else range(1, 21):
                    reward = level(run, opponent, player, seed, iteration, table == "episodes" and number == 20)
                    found.append({**keys, "round": number, "reward": reward, "cooperation_rate": reward / 10})
        return pd.DataFrame(found)


@pytest.fixture
def checked() -> claims.Checked:
    return claims.check(Study(Path("nowhere"), "cpu"))


def test_every_row_reads_what_its_name_says(checked):
    def values(run: str, opponent: str, iteration: int = 100, player: str = "ego", last: bool = False) -> np.ndarray:
        return np.array([level(run, opponent, player, seed, iteration, last) for seed in range(SEEDS)])

    naive, metas = {"opponent": "naive"}, {"opponent": "learner"}  # the last tenth of the iterations is the last measurement
    shaping = {
        "reward of COALA-PG": lambda run: estimate(values(run, **naive)),
        "reward of its naive learners": lambda run: estimate(values(run, **naive, player="co")),
        "reward of COALA-PG minus M-FOS's": lambda run: difference(values(run, **naive), values(f"{run}-m-fos", **naive)),
        "reward of COALA-PG minus the batch-unaware rule's": lambda run: difference(
            values(run, **naive), values(f"{run}-batch-unaware", **naive)
        ),
        "cooperation of M-FOS": lambda run: estimate(values(f"{run}-m-fos", **naive) / 10),
    }
    pairs = [(0, 1), (1, 2), (2, 3)]
    expected = [
        {
            "reward of the meta agent in the last game": estimate(values("exact-naive", **naive, last=True)),
            "reward of the naive learner in the last game": estimate(values("exact-naive", **naive, player="co", last=True)),
        },
        {
            "reward of both before training": estimate(values("exact-mutual", **metas, iteration=0), pairs=pairs),
            "reward of both, half-way through training": estimate(values("exact-mutual", **metas, iteration=50), pairs=pairs),
            "reward of both, late in training": estimate(values("exact-mutual", **metas), pairs=pairs),
        },
        {
            "reward of the meta agents with each other": estimate(values("exact-mixed", **metas)),
            "their reward without naive learners": estimate(values("exact-meta", **metas)),
            "their reward with naive learners minus without": difference(values("exact-mixed", **metas), values("exact-meta", **metas)),
        },
        {name: of("five-logit") for name, of in shaping.items()},
        {name: of("naive") for name, of in shaping.items()},
        {
            "cooperation of the meta agents": estimate(values("mixed", **metas) / 10),
            "cooperation of the meta agents minus M-FOS's": difference(
                values("mixed", **metas) / 10, values("mixed-m-fos", **metas) / 10
            ),
            "cooperation of the meta agents minus that without naive learners": difference(
                values("mixed", **metas) / 10, values("meta", **metas) / 10
            ),
        },
    ]
    found = [claim for claim in checked.claims if claim.agent == "coala"]
    assert len(found) == len(expected)
    for claim, rows in zip(found, expected, strict=True):
        assert [row.spec.name for row in claim.rows] == list(rows)
        for row in claim.rows:
            wanted = rows[row.spec.name]
            assert [row.ours.value, row.ours.low, row.ours.high] == pytest.approx(
                [wanted.value, *(np.clip([wanted.low, wanted.high], *_range(row.spec)))], abs=1e-9
            ), row.spec.name
            assert row.seen == len(seen_seeds("cpu", "coala", row.spec.measure.run) & {*range(SEEDS)}), row.spec.name


def _range(spec: claims.RowSpec) -> tuple[float, float]:
    lowest, highest = (-1.0, 2.0) if spec.measure.arguments["quantity"] == "reward" else (0.0, 1.0)
    return (lowest, highest) if spec.minus is None else (lowest - highest, highest - lowest)


def test_what_is_not_in_print_has_no_verdict_and_is_not_counted(checked):
    found = [claim for claim in checked.claims if claim.agent == "coala"]
    assert all(row.spec.target is None and row.verdict is None for claim in found for row in claim.rows)
    assert headline("coala", found) == "COALA, ours only"
    page = markdown_tables(checked)
    assert page.count("| ours only |") == sum(len(claim.rows) for claim in found)
    assert "**PPI, 8 claims: 8 not run**" in page and "**COALA, ours only**" in page


def test_without_a_run_of_coala_nothing_is_said_about_it():
    class WithoutCoala(Study):
        def seeds(self, name: str) -> list[int]:
            return [0] if name == "ppi-mixed" else []

        def table(self, name: str, table: str) -> pd.DataFrame:
            return pd.DataFrame()

    found = claims.check(WithoutCoala(Path("nowhere"), "cpu"))
    assert {claim.agent for claim in found.claims} == {"ppi", "a2c"}


def test_null_policies_stand_in_the_same_pool(checked):
    played = pd.read_parquet(Path(__file__).parents[2] / "results/cpu/coala-nulls.parquet")
    for run in RUNS:
        found = nulls.tables("coala", run, 100, played)["training"].query("iteration == 30 and opponent == 'naive' and player == 'ego'")
        pool = {"exact": "exact-naive", "five": "five-logit"}.get(run.split("-")[0], "naive")
        expected = played[played["pool"] == pool].query("opponent == 'naive' and player == 'ego'").groupby("null")["reward"].mean()
        reward = found.set_index("seed")["reward"]
        assert reward[expected.index].to_numpy() == pytest.approx(expected.to_numpy())
        assert reward[nulls.PRIOR] == reward["random"] and set(reward.index) == set(nulls.NULLS)
    assert all(np.isnan(list(row.nulls.values())).all() for claim in checked.claims if claim.agent == "coala" for row in claim.rows)
