"""The figure of both papers' steps: every line shows the rows that it stands for, and what is missing is said."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from coopctx.experiments.pools import COALA_POOLS, pools_of
from coopctx.figures import coala, style
from coopctx.figures.runs import NothingToDraw
from coopctx.runs.read import Results
from coopctx.runs.run import Run

SEEDS, TRAINING, CURVES = (0, 2), (0, 5, 10), (5, 10)
IN_CONTEXT = ("extortion", "mutual-extortion", "mixed", "learners")
RUNS = [*itertools.product(["coala"], COALA_POOLS), *itertools.product(["ppi"], IN_CONTEXT)]
OPPONENTS = ("learner", "naive", "fixed-icl")


def rounds_of(agent: str, pool: str) -> int:
    """Three games of the exact game; three inner episodes of ten rounds."""
    return 3 if pool.startswith("exact-") else 30


def level(name: str, seed: int, opponent: str, player: str, quantity: str, iteration: int, learner: int, at: int = 0) -> float:
    where = 0.01 * [f"{agent}-{pool}" for agent, pool in RUNS].index(name) + 0.1 * OPPONENTS.index(opponent) + 0.05 * (player == "co")
    return where + 0.3 * (quantity == "reward") + 0.002 * iteration + 0.03 * (learner == 2) + 0.004 * at + 0.01 * seed


def write(results: Path, agent: str, pool: str, seed: int) -> None:
    name, members = f"{agent}-{pool}", pools_of(agent)[pool]
    keys = {"agent": agent, "experiment": pool, "opponent_id": False, "seed": seed, "preset": "cpu"}
    with Run.open(results / "cpu" / name / f"seed-{seed}", keys, config={}, device="cpu") as run:
        for opponent, player in itertools.product(members.opponents, ("ego", "co")):
            if opponent not in OPPONENTS:
                continue

            def measured(opponent=opponent, player=player, **where) -> dict:
                values = {q: level(name, seed, opponent, player, q, **where) for q in ("cooperation_rate", "reward")}
                return {"opponent": opponent, "player": player, "episodes": 4, **values}

            for iteration, learner in itertools.product(TRAINING, range(1, members.learners + 1)):
                where = {"iteration": iteration, "learner": learner}
                run.record("training", [where | measured(**where)])
            for iteration, t in itertools.product(CURVES, range(1, rounds_of(agent, pool) + 1)):
                where = {"iteration": iteration, "learner": 1}
                run.record("episodes", [where | measured(**where, at=t) | {"round": t}])
        run.finish({"weight": torch.zeros(1)})


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coala") / "results"
    for (agent, pool), seed in itertools.product(RUNS, SEEDS):
        write(folder, agent, pool, seed)
    return folder


REWARD, COOPERATION = "reward", "cooperation_rate"
WITHIN = [("naive", "naive", "ego"), ("naive", "naive", "co"), ("naive-m-fos", "naive", "ego"), ("naive-m-fos", "naive", "co")]
EXPECTED = [  # agent, quantity, from the curves within the meta-trajectory or from training, and pool, opponent, player of each line
    ("coala", REWARD, True, [("exact-naive", "naive", "ego"), ("exact-naive", "naive", "co")]),
    ("coala", REWARD, False, [("exact-mutual", "learner", "ego")]),
    ("coala", REWARD, False, [("exact-mixed", "learner", "ego"), ("exact-meta", "learner", "ego")]),
    ("coala", REWARD, True, WITHIN),
    ("coala", REWARD, False, [(pool, "naive", "ego") for pool in ("naive", "naive-m-fos", "naive-batch-unaware")]),
    ("coala", COOPERATION, False, [(pool, "learner", "ego") for pool in ("mixed", "mixed-m-fos", "meta")]),
    ("ppi", REWARD, False, [("extortion", "fixed-icl", "ego"), ("extortion", "fixed-icl", "co")]),
    ("ppi", COOPERATION, False, [("mutual-extortion", "learner", "ego")]),
    ("ppi", COOPERATION, False, [("mixed", "learner", "ego"), ("learners", "learner", "ego")]),
]


def expected(agent: str, pool: str, opponent: str, player: str, quantity: str, within: bool) -> tuple[list[int], list[float]]:
    """x and the mean over seeds; of training over the learners, of the last curves over ten rounds or a game of the exact game."""
    name, learners = f"{agent}-{pool}", range(1, pools_of(agent)[pool].learners + 1)

    def value(iteration: int, learner: int, at: int = 0) -> float:
        return float(np.mean([level(name, seed, opponent, player, quantity, iteration, learner, at) for seed in SEEDS]))

    if not within:
        return list(TRAINING), [float(np.mean([value(iteration, learner) for learner in learners])) for iteration in TRAINING]
    every = rounds_of(agent, pool) // 3
    parts = [range(1 + every * part, 1 + every * (part + 1)) for part in range(3)]
    return [1, 2, 3], [float(np.mean([value(10, 1, at) for at in part])) for part in parts]


def test_each_panel_shows_its_runs(results):
    figure, missing = coala.build(Results(results, "cpu"))
    assert missing == [] and len(figure.axes) == len(EXPECTED)
    for axes, (agent, quantity, within, lines) in zip(figure.axes, EXPECTED, strict=True):
        drawn = {line.get_gid(): line for line in axes.lines if line.get_gid()}
        assert list(drawn) == [f"{agent}-{pool}/{opponent}/{player}" for pool, opponent, player in lines]
        assert axes.get_ylabel() == {REWARD: "Avg. Reward", COOPERATION: "Cooperation Rate"}[quantity]
        for line, (pool, opponent, player) in zip(drawn.values(), lines, strict=True):
            x, y = expected(agent, pool, opponent, player, quantity, within)
            np.testing.assert_array_equal(line.get_xdata(), x)
            np.testing.assert_allclose(line.get_ydata(), y, atol=1e-9)
            assert line.get_color() == style.SIDES[player]
        looks = [(line.get_color(), line.get_linestyle()) for line in drawn.values()]
        assert len(set(looks)) == len(looks), axes.get_title(loc="left")
        assert len(axes.get_legend().get_texts()) == len(lines)


def test_runs_that_are_missing_are_named_with_their_command(tmp_path):
    with pytest.raises(NothingToDraw, match="no finished run of COALA"):
        coala.build(Results(tmp_path, "cpu"))
    write(tmp_path, "coala", "exact-naive", 0)
    figure, missing = coala.build(Results(tmp_path, "cpu"))
    assert "coala-exact-meta: no finished run (coopctx train --agent coala --pool exact-meta" in "\n".join(missing)
    assert not any("exact-naive" in line or "ppi" in line for line in missing) and len(missing) == 9
    empty = [axes for axes in figure.axes if [text.get_text() for text in axes.texts] == ["no finished run"]]
    assert len(empty) == len(EXPECTED) - 1
