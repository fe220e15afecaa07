"""The extortion probe: the runs that it makes, what it measures of them, and slopes against closed forms."""

import itertools
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from tiny_runs import TINY, config, spec, train

from coopctx.analysis.extortion import extortion_fit, spread_of_opponents
from coopctx.analysis.paper import paper_targets
from coopctx.analysis.steps import STEP_POOLS, measure_steps
from coopctx.cli import app as cli
from coopctx.cli import show
from coopctx.cli.evaluations import slopes_tables
from coopctx.errors import RunError, UsageError
from coopctx.evaluation import slopes
from coopctx.experiments.presets import load_preset
from coopctx.game.memory_one import NAMED_STRATEGIES, expected_play
from coopctx.launch.job import Outcome, RunOptions
from coopctx.launch.jobs import Request
from coopctx.launch.local import Processes
from coopctx.launch.steps import train_steps
from coopctx.runs.read import Results
from coopctx.runs.run import Run

SEEDS = (0, 1, 4)


# Steps 1 to 3 ----------------------------------------------------------------------------------------------------


def rate(pool: str, seed: int, phase: int, learner: int, player: str) -> float:
    """Step 3 climbs to phase 3 and then falls; learner 2 is always the lower; other steps do not change."""
    if pool != "mutual-extortion":
        return {"ego": 0.2, "co": 0.6}[player] + 0.01 * seed
    climb = {0: 0.0, 1: 0.2, 2: 0.3, 3: 0.5}.get(phase, 0.4)
    return climb + 0.1 * (learner == (1 if player == "ego" else 2)) + 0.01 * seed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Finished runs of all steps with known numbers, eight phases, rewards as the game has it."""
    results = tmp_path_factory.mktemp("probe")
    for pool, seed in itertools.product(STEP_POOLS, SEEDS):
        which = spec(pool, seed=seed)
        with Run.open(which.directory(results), which.keys, {}, "cpu") as run:
            learners = (1, 2) if pool == "mutual-extortion" else (1,)
            for phase, learner, player in itertools.product(range(9), learners, ("ego", "co")):
                if phase or pool == "mutual-extortion":
                    run.record("training", [row(pool, seed, phase, learner, player)])
            for t, player in itertools.product(range(1, 101), ("ego", "co")):
                early = {**row(pool, seed, 0, 1, player), "cooperation_rate": t / 200 + 0.01 * seed}
                run.record("episodes", [{**early, "round": t}, {**early, "round": t, "iteration": 8, "cooperation_rate": 0.9}])
            run.finish({"weight": torch.zeros(1)})
    return results


def row(pool: str, seed: int, phase: int, learner: int, player: str) -> dict:
    own, other = (rate(pool, seed, phase, learner, who) for who in ((player, "co" if player == "ego" else "ego")))
    where = {"iteration": phase, "learner": learner, "opponent": "learner", "player": player, "episodes": 8}
    return {**where, "cooperation_rate": own, "reward": 2 * other - own}


@pytest.fixture(scope="module")
def measures(finished):
    found = measure_steps("ppi", "smoke", SEEDS, finished, load_preset("cpu"))
    return {(measure.step, measure.name): measure for measure in found}


def test_means_are_over_seeds_and_the_last_phases(measures):
    offset = 0.01 * np.mean(SEEDS)
    expected = {
        (1, "PPI: cooperation"): (0.2 + offset, 0.08),
        (1, "PPI: reward"): (1.0 + offset, 1.0),
        (1, "Avg. Tabular: reward"): (-0.2 + offset, -0.37),
        (1, "PPI: share of the surplus"): ((1.0 + offset) / (0.8 + 2 * offset), 1.0 / 0.63),
        (2, "Fixed-ICL: cooperation"): (0.6 + offset, 0.665),
        (2, "Fixed-ICL: share of the surplus"): ((-0.2 + offset) / (0.8 + 2 * offset), 0.25 / 1.13),
        (3, "PPI 1: cooperation"): (0.5 + offset, 0.94),
        (3, "PPI 2: cooperation"): (0.4 + offset, None),
        (3, "PPI 1: reward"): (2 * 0.4 - 0.5 + offset, 0.96),
        (3, "PPI 1: share of the surplus"): ((0.3 + offset) / (0.9 + 2 * offset), None),
    }
    for key, (ours, paper) in expected.items():
        assert measures[key].ours.value == pytest.approx(ours), key
        assert measures[key].paper == (paper and pytest.approx(paper)), key
        assert measures[key].ours.seeds == 3
        assert measures[key].ours.low <= measures[key].ours.value <= measures[key].ours.high
    rates = np.array([0.2, 0.21, 0.24])  # of the three seeds
    assert measures[1, "PPI: cooperation"].ours.high == pytest.approx(rates.mean() + 4.302653 * rates.std(ddof=1) / np.sqrt(3))
    # Step 3 of seeds 0 and 1 share the Step-2 agent of seed 1, and that of seed 4 is alone.
    deviations = np.array(SEEDS) / 100 - np.mean(SEEDS) / 100
    of_agents = [deviations[0], deviations[0] + deviations[1], deviations[1], deviations[2], deviations[2]]
    half = 4.302653 * np.sqrt(np.square(of_agents).sum() / 3)
    assert measures[3, "PPI 1: cooperation"].ours.high == pytest.approx(0.5 + 0.05 / 3 + half)


def test_step_three_before_training_where_the_paper_is_read_and_at_its_highest(measures):
    offset = 0.01 * np.mean(SEEDS)
    assert measures[3, "coop. before training, round 5"].ours.value == pytest.approx(0.025 + offset)
    assert measures[3, "coop. before training, rounds 90-100"].ours.value == pytest.approx(0.475 + offset)
    a_third = measures[3, "coop. of both, 33% of training"]
    assert a_third.ours.value == pytest.approx(0.55 + offset)  # phase 3 of 8
    assert a_third.paper == paper_targets()["2", "E", "PPI1 extort", "cooperation_rate", 10].value == 0.95
    highest = measures[3, "coop. of both, highest (phase 3)"]
    assert highest.ours.value == pytest.approx(0.55 + offset)
    assert highest.paper is None and np.isnan(highest.ours.low)  # a maximum is no reading


def test_no_surplus_has_no_share_and_one_seed_no_interval(finished):
    found = measure_steps("ppi", "smoke", [0], finished, load_preset("smoke", ("game.payoffs=[[1, -1], [2, 0.9]]",)))
    shares = [measure for measure in found if measure.step == 1 and "share" in measure.name]
    assert np.isnan([share.ours.value for share in shares]).all()
    console = Console(width=80, record=True)
    console.print(show.steps_table(found, "smoke"))
    text = console.export_text()
    assert "means over 1 seed and," in text
    assert re.search(r"PPI: share of the surplus +- +- +1.59", text)
    assert re.search(r"Fixed-ICL: reward +-0.200 +- +0.25", text)


class Trained:
    """In place of `jobs.train_runs`: notes what is asked for; fails where a test wants it to."""

    def __init__(self, monkeypatch, failing: tuple[str, int] = ("", -1)) -> None:
        self.asked: list[Request] = []
        self._failing = failing
        monkeypatch.setattr("coopctx.launch.steps.train_runs", self)

    def __call__(self, requests, options):
        self.asked += requests
        specs = [request.spec for request in requests]
        states = ["failed" if (spec.pool, spec.seed) == self._failing else "unchanged" for spec in specs]
        return [Outcome(spec.seed, options.results, state, "disk full") for spec, state in zip(specs, states, strict=True)]

    def seeds(self, pool):
        return sorted(request.spec.seed for request in self.asked if request.spec.pool == pool)


def steps(results, seeds, *overrides):
    return train_steps("ppi", seeds, RunOptions(Processes(), "smoke", overrides, results, "cpu", 1))


@pytest.mark.parametrize(("seeds", "earlier"), [([0], [0, 1]), (list(range(10)), list(range(10))), ([9, 3], [0, 3, 4, 9])])
def test_every_step_is_run_with_the_seeds_that_the_next_one_needs(tmp_path, monkeypatch, seeds, earlier):
    trained = Trained(monkeypatch)
    assert steps(tmp_path, seeds, "ppi.rollouts=3") == load_preset("smoke", ("ppi.rollouts=3",), "mutual-extortion")
    assert [trained.seeds(pool) for pool in STEP_POOLS] == [earlier, earlier, sorted(seeds)]
    assert len(set(trained.asked)) == len(trained.asked) == 2 * len(earlier) + len(seeds)
    assert {(request.overrides, request.results) for request in trained.asked} == {(("ppi.rollouts=3",), tmp_path)}


def test_a_failed_run_ends_the_probe_by_name(tmp_path, monkeypatch):
    Trained(monkeypatch, failing=("extortion", 1))
    with pytest.raises(RunError, match="^ppi-extortion seed 1: disk full$"):
        steps(tmp_path, [0])


def test_only_agents_with_these_steps_are_probed(tmp_path):
    with pytest.raises(UsageError, match="unknown agent 'coala'; allowed: ppi, a2c"):
        train_steps("coala", [0], RunOptions(Processes(), "smoke", (), tmp_path, "cpu", 1))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("game.payoffs=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "games of two actions, not 3"),
        ("game.rounds=4", "game.rounds of at least 5, not 4"),
    ],
)
def test_games_that_cannot_be_probed_are_refused_before_anything_is_run(tmp_path, monkeypatch, override, message):
    trained = Trained(monkeypatch)
    with pytest.raises(UsageError, match=message):
        steps(tmp_path, [0], override)
    assert trained.asked == []


@pytest.fixture(scope="module", autouse=True)
def few_games():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slopes, "GAMES", 8)
        yield


# Slopes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    """Steps 1 and 2 of seeds 0 and 1, and the Step 1 that the Step 3 of seed 1 needs besides."""
    results = tmp_path_factory.mktemp("slopes")
    for pool, seed in (("tabular", 0), ("tabular", 1), ("tabular", 2), ("extortion", 0), ("extortion", 1)):
        train(results, spec(pool, seed=seed), config())
    return results


def measured(results, seeds=(0, 1)):
    return slopes.measure_slopes("ppi", "smoke", seeds, results, config(), "cpu")


@pytest.fixture(scope="module")
def found(agents):
    return measured(agents)


def test_everyone_meets_the_same_spread_and_the_other_seeds_agents(found):
    points = found.points.set_index(["player", "met"])
    for player in ("Step 1", "Step 2", "Tit-for-Tat", "ZD-Extort-2"):
        spread = points.loc[(player, "memory-one")]
        assert spread.groupby("seed")["opponent"].nunique().to_dict() == {0: 64, 1: 64}
        assert spread["opponent"].nunique() == 64 and "0 0 0 0 0" in set(spread["opponent"])
        adaptive = points.loc[(player, "adaptive")].groupby("seed")["opponent"].agg(set).to_dict()
        assert adaptive == {
            0: {"Step 1, seed 1", "Step 1, seed 2"},
            1: {"Step 1, seed 0", "Step 1, seed 2"},
        }
    assert set(found.points["games"]) == {slopes.GAMES}
    assert found.points[["reward", "co_reward"]].abs().to_numpy().max() <= 2


def test_references_show_their_slopes(found):
    fits = found.fits.set_index(["player", "met"])
    for player, slope in (("Tit-for-Tat", 1), ("ZD-Extort-2", 2)):
        exact = fits.loc[(player, "exact")]
        assert [exact["chi"], exact["residual"]] == pytest.approx([slope, 0], abs=1e-7)
        assert pd.isna(exact["rounds"]) and exact["co_players"] == 64
        played = fits.loc[(player, "memory-one")]
        strategy = NAMED_STRATEGIES[player.lower()]
        play = expected_play(strategy, spread_of_opponents(64, np.random.default_rng(0)), 8)
        means = {"reward": play.reward.mean(1), "co_reward": play.co_reward.mean(1)}
        expected = extortion_fit(pd.DataFrame({"opponent": range(64), **means}))
        assert played["chi"] == pytest.approx(expected.chi.value, abs=0.4)  # eight rounds bend the line
        assert (played["rounds"], played["games"], played["seeds"]) == (8, slopes.GAMES, 2)


def test_the_memory_one_picture_counts_every_decision(found):
    picture = found.memory_one
    assert set(picture["player"]) == {"Step 1", "Step 2"}
    decisions = picture.groupby(["player", "seed", "met"])["count"].sum().unstack("met")
    assert (decisions["memory-one"] == 64 * slopes.GAMES * 8).all()
    assert (decisions["adaptive"] == 2 * slopes.GAMES * 8).all()
    assert list(picture["window"].unique()) == ["early", "middle", "late"]


def test_the_same_seeds_show_the_same_and_a_single_co_player_no_line(agents, found):
    alone = measured(agents, [0])
    for name in ("Step 2", "Tit-for-Tat"):
        ours, before = (table[(table["player"] == name) & (table["seed"] == 0)] for table in (alone.points, found.points))
        shared = ["met", "opponent", "reward", "co_reward"]
        expected = before[before["opponent"] != "Step 1, seed 2"][shared].reset_index(drop=True)
        pd.testing.assert_frame_equal(ours[shared].reset_index(drop=True), expected)
    line = alone.fits.set_index(["player", "met"]).loc[("Step 2", "adaptive")]
    assert np.isnan(line["chi"]) and line["co_players"] == 1 and pd.isna(line["extorts"])
    together = found.fits.set_index(["player", "met"]).loc[("Step 2", "all")]
    assert together["co_players"] == 64 + 3


def test_slopes_are_written_and_shown(found, tmp_path):
    (tmp_path / "smoke").mkdir()
    paths = slopes.write(found, "ppi", "smoke", tmp_path)
    assert [path.name for path in paths] == [f"ppi-extortion-{name}.parquet" for name in ("slopes", "points", "memory-one")]
    assert pq.read_table(paths[0]).column_names == [
        *("agent", "preset", "player", "met", "rounds", "games", "chi", "chi_low", "chi_high"),
        *("residual", "residual_low", "residual_high", "spread", "co_players", "seeds", "extorts"),
    ]
    assert len(pq.read_table(paths[1])) == len(found.points)
    console = Console(width=80, record=True)
    console.print(slopes_tables(found))
    text = console.export_text()
    assert "…" not in text
    assert re.search(r"ZD-Extort-2 +exact +2\.000 +- +0\.000 +0\.184 +yes", text)
    assert re.search(r"Tit-for-Tat +exact +1\.000 +- +0\.000 +0\.285 +no", text)
    assert re.search(r"Step 2 vs +1-2 ", text) and re.search(r"^adaptive ", text, re.MULTILINE)


def test_missing_agents_are_named_with_the_command_that_makes_them(agents):
    with pytest.raises(RunError, match="ppi-tabular/seed-3 is not a finished run; make it with: coopctx train .* --seed 3"):
        measured(agents, [2, 1])


# From the command line -------------------------------------------------------------------------------------------


def test_the_command_runs_what_is_missing_and_tells_all(agents, capsys, monkeypatch):
    monkeypatch.setattr(show, "console", Console(width=100))
    settings = [word for override in TINY for word in ("--set", override)]
    command = ["extort-probe", "--agent", "ppi", "--preset", "smoke", "--seed", "0", "--jobs", "1"]
    status = cli.main([*command, *settings, "--results", str(agents)])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert "ppi-tabular" not in out and "ppi-mutual-extortion seed 0" in out
    assert Results(agents, "smoke").seeds("ppi-mutual-extortion") == [0]
    for words in ("Fixed-ICL: share of the surplus", "coop. before training, rounds 7-8", "ZD-Extort-2", "Step 2 vs"):
        assert words in out
    assert (agents / "smoke" / "ppi-extortion-slopes.parquet").stat().st_size > 1000
    (agents / "smoke" / "ppi-extortion-slopes.parquet").unlink()
    assert cli.main([*command, *settings, "--results", str(agents), "--no-slopes"]) == 0
    assert "ZD-Extort-2" not in capsys.readouterr().out
    assert not (agents / "smoke" / "ppi-extortion-slopes.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "Missing option '--agent'"),
        (["--agent", "dqn"], 2, "unknown agent 'dqn'; allowed: ppi"),
        (["--agent", "ppi", "--seeds", "3-1"], 2, "--seeds must be like 0-9"),
        (["--agent", "ppi", "--set", "ppi.rolouts=1"], 2, "did you mean ppi.rollouts?"),
        (["--agent", "ppi", "--preset", "huge"], 2, "unknown preset 'huge'"),
        (["--agent", "ppi", "--jobs", "0"], 2, "--jobs must be an integer >= 1"),
        (["--agent", "ppi", "--results", "file"], 1, "cannot write file"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, status, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["extort-probe", *arguments]) == status
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


# A2C -------------------------------------------------------------------------------------------------------------


def test_a2c_is_probed_and_evaluated_as_ppi_is(tmp_path, capsys, monkeypatch, runs_in_this_process):
    monkeypatch.setattr(show, "console", Console(width=100))
    tiny = ("game.rounds=8", "model.hidden=16", "a2c.iterations=4", "a2c.batch_size=4", "a2c.measure_every=1")
    settings = [word for override in tiny for word in ("--set", override)]
    command = ["extort-probe", "--agent", "a2c", "--preset", "smoke", "--seed", "0", "--jobs", "1"]
    status = cli.main([*command, *settings, "--results", str(tmp_path)])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert re.search(r"A2C: reward +-?\d\.\d{3} +- +1\.03", out) and re.search(r"Fixed-ICL: cooperation .* 0\.8[67]", out)
    assert re.search(r"coop\. of both, 50% of training .* 0\.94", out) and re.search(r"highest \(iteration \d\) .* -\n", out)
    assert re.search(r"coop\. before training, round 7 .* 0\.06", out) and "Step 2 vs" in out
    assert Results(tmp_path, "smoke").seeds("a2c-extortion") == [0, 1]
    assert (tmp_path / "smoke" / "a2c-extortion-slopes.parquet").exists()
    run = tmp_path / "smoke" / "a2c-mutual-extortion" / "seed-0"
    against = ["--against", "tit-for-tat", "--against", str(tmp_path / "smoke" / "a2c-tabular" / "seed-0")]
    assert cli.main(["evaluate", str(run), "--learner", "2", "--games", "8", *against]) == 0
    assert "tit-for-tat" in capsys.readouterr().out
