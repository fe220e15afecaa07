"""Estimates of time: work is counted as real runs do it, and costs what short runs made it cost. No test depends on speed."""

import itertools
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch._dynamo  # makes a folder where temporary files go, when it is first imported

from coopctx import native
from coopctx.agents import sample_of, work_of
from coopctx.agents.a2c.learner import A2CLearner
from coopctx.agents.a2c.training import A2CTraining
from coopctx.agents.loop import Loop
from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.planner import Planner
from coopctx.agents.work import REST
from coopctx.errors import RunError
from coopctx.experiments.pools import COALA_POOLS, POOLS, RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.launch import calibration
from coopctx.launch.calibration import ENOUGH, GROWTH, LARGEST, Calibration, timed_run

CPU = torch.device("cpu")
PPI = (
    "game.rounds=4",
    "model.hidden=16",
    "ppi.phases=3",
    "ppi.initial_episodes=16",
    "ppi.initial_epochs=3",
    "ppi.epochs=2",
    "ppi.batch_size=8",
    "ppi.episodes_per_phase=8",
    "ppi.rollouts=1",
    "ppi.horizon=2",
    "measure.episode_phases=[1, -1]",
    "measure.episode_games=4",
)
A2C = ("game.rounds=4", "model.hidden=16", "a2c.iterations=6", "a2c.batch_size=16", "a2c.measure_every=2", "measure.episode_games=4")


def spec(agent: str, pool: str) -> RunSpec:
    return RunSpec(agent, pool, False, 20, "smoke")


def work(agent: str, pool: str, settings: tuple[str, ...], done: int = -1, threads: int = 1) -> dict[str, float]:
    return work_of(spec(agent, pool), load_preset("smoke", settings, pool), threads, CPU, done)


def counting(monkeypatch, kind, name: str, amount) -> list[int]:
    """The amounts of all calls of a method from now on."""
    seen, real = [], getattr(kind, name)

    def counted(self, *arguments, **options):
        seen.append(amount(*arguments))
        return real(self, *arguments, **options)

    monkeypatch.setattr(kind, name, counted)
    return seen


# Work is what runs do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["mixed", "learners", "tabular"])
def test_ppi_s_work_is_what_a_run_does(pool, monkeypatch):
    fitted = counting(monkeypatch, PPILearner, "_gradient_step", lambda games, *_: len(games))
    planned = counting(monkeypatch, Planner, "action_values", lambda gates, n_actions, hidden, *_: len(hidden))
    records = counting(monkeypatch, Loop, "_record", lambda iteration: 1)
    timed_run(spec("ppi", pool), load_preset("smoke", PPI, pool), 1)
    counted = work("ppi", pool, PPI)
    assert counted["fit"] == 4 * sum(fitted) and counted["plan"] == sum(planned) and counted[REST] == sum(records)


@pytest.mark.parametrize("pool", ["mixed", "tabular"])
@pytest.mark.parametrize("growth", [1, 3])
def test_a2c_s_work_is_what_a_run_does(pool, growth, monkeypatch):
    learned = counting(monkeypatch, A2CLearner, "update", lambda episodes, *_: len(episodes))
    played = counting(monkeypatch, A2CTraining, "_own", lambda batch, sizes: 2 * sizes.together + sizes.apart * (2 if pool == "mixed" else 1))
    records = counting(monkeypatch, Loop, "_record", lambda iteration: 1)
    settings = (*A2C, f"a2c.batch_growth={growth}")
    timed_run(spec("a2c", pool), load_preset("smoke", settings, pool), 1)
    counted = work("a2c", pool, settings)
    rounded = {} if growth == 1 else {"rel": 0.03}  # a batch has whole episodes
    assert counted["update"] == pytest.approx(4 * sum(learned), **rounded)
    assert counted["play"] == pytest.approx(4 * sum(played), **rounded)
    assert counted[REST] == sum(records)


def test_steps_two_and_three_count_both_sides_where_both_are_models():
    own = work("ppi", "extortion", PPI)["plan"]
    assert own == 2 * (work("ppi", "tabular", PPI)["plan"] - 2 * 3 * 4 * 4)  # which also plays the named strategies
    pretrained, fresh = work("ppi", "mutual-extortion", PPI), work("ppi", "learners", PPI)
    assert pretrained["plan"] == 4 * (3 + 1) * 8 * 2, "before the first phase too, on two sides"
    assert fresh["fit"] - pretrained["fit"] == 4 * 2 * (3 * 16 - 2 * 3 * 16), "no pre-training, but two kinds of D_0"
    assert work("a2c", "extortion", A2C)["play"] == 2 * work("a2c", "tabular", (*A2C, "a2c.iterations=6"))["play"]


@pytest.mark.parametrize(("agent", "settings", "last"), [("ppi", PPI, 3), ("a2c", (*A2C, "a2c.batch_growth=5"), 6), ("coala", (), 4)])
def test_what_is_done_is_not_left(agent, settings, last):
    """Iteration by iteration the work adds up to all of it, and at the end nothing is left."""
    left = [work(agent, "mixed", settings, done) for done in range(-1, last + 1)]
    assert set(left[-1].values()) == {0}
    for part in left[0]:
        assert all(later[part] <= earlier[part] for earlier, later in itertools.pairwise(left))
    main = "plan" if agent == "ppi" else "play"
    assert all(later[main] < earlier[main] for earlier, later in itertools.pairwise(left[1:]))


def test_later_phases_of_ppi_fit_more_and_a_growing_batch_of_a2c_has_more_episodes():
    fit = [work("ppi", "mixed", PPI, done)["fit"] for done in range(4)]
    assert [before - after for before, after in itertools.pairwise(fit)] == [2 * 4 * 2 * data for data in (16, 24, 32)]
    update = [work("a2c", "mixed", (*A2C, "a2c.batch_growth=32"), done)["update"] for done in range(7)]
    steps = [before - after for before, after in itertools.pairwise(update)]
    assert steps == pytest.approx([2 * 4 * 16 * 2**k for k in range(6)])


def test_two_threads_fit_two_learners_in_the_time_of_one(monkeypatch):
    alone, together = work("ppi", "mixed", PPI)["fit"], work("ppi", "mixed", PPI, threads=2)["fit"]
    assert alone == (2 if native.load() else 1) * together
    monkeypatch.setattr(native, "load", lambda precision=None: None)
    assert work("ppi", "mixed", PPI, threads=2)["fit"] == alone, "PyTorch fits one after the other, on all threads"


def test_coala_s_work_is_proportional_to_its_rounds():
    once = work("coala", "mixed", ())
    assert set(once) == {"play", "update", "measure", REST} and set(work("coala", "exact-mixed", ())) == {"update", "measure", REST}
    for setting in ("meta_batch=8", "inner_batch=8", "inner_episodes=6", "inner_rounds=10", "iterations=8"):
        twice = work("coala", "mixed", (f"coala.{setting}", "coala.measure_every=100"))
        assert twice["update"] == 2 * once["update"]


# Samples --------------------------------------------------------------------------------------------------------------

RUNS = [("ppi", pool) for pool in POOLS] + [("a2c", pool) for pool in POOLS] + [("coala", pool) for pool in COALA_POOLS]


@pytest.mark.parametrize(("agent", "pool"), RUNS)
def test_a_sample_needs_no_other_run_and_does_the_same_parts(agent, pool):
    asked, config = spec(agent, pool), load_preset("cpu", (), pool)
    for size in (0, 1, GROWTH, LARGEST):
        sampled, small = sample_of(asked, config, size)
        assert sampled.needs() == () and sampled.agent == agent
        assert (small.model.hidden, small.game.payoffs) == (config.model.hidden, config.game.payoffs)
        counted = work_of(sampled, small, 1, CPU, -1)
        assert set(counted) == set(work_of(asked, config, 1, CPU, -1)) and min(counted.values()) > 0


@pytest.mark.parametrize(("agent", "pool"), RUNS)
def test_a_larger_sample_does_more(agent, pool):
    asked, config = spec(agent, pool), load_preset("cpu", (), pool)
    main = "fit" if agent == "ppi" else "update"
    sizes = [work_of(*sample_of(asked, config, size), 1, CPU, -1)[main] for size in (1, 4, 16, 64, 256)]
    assert sizes == sorted(sizes) and sizes[-1] > 8 * sizes[0]


def test_the_sample_of_a_growing_batch_has_the_mean_batch():
    growing = ["a2c.hold=0", "a2c.batch_growth=8", "a2c.iterations=1000", "a2c.batch_size=100"]
    _, small = sample_of(spec("a2c", "mixed"), load_preset("cpu", growing), 1000)
    assert small.a2c.batch_size == round(100 * sum(8 ** (k / 999) for k in range(1000)) / 1000)
    _, held = sample_of(spec("a2c", "mixed"), load_preset("cpu", [*growing, "a2c.iterations=1001", "a2c.hold=0.5"]), 1000)
    assert held.a2c.batch_size == round(100 * (500 + sum(8 ** (k / 500) for k in range(501))) / 1001)


def test_runs_that_cost_the_same_share_a_sample():
    def sample(agent, pool, *settings):
        return sample_of(spec(agent, pool), load_preset("cpu", settings, pool), 4)

    assert sample("ppi", "mixed") == sample("ppi", "tabular") == sample("ppi", "mutual-extortion") != sample("ppi", "extortion")
    assert sample("a2c", "mixed") == sample("a2c", "learners") != sample("a2c", "tabular"), "a smaller batch"
    assert len({sample("a2c", pool) for pool in ("tabular", "extortion", "mutual-extortion")}) == 1
    assert sample("coala", "mixed") == sample("coala", "mixed-m-fos") != sample("coala", "meta")
    for setting in ("model.hidden=32", "ppi.rollouts=6", "ppi.horizon=9", "ppi.batch_size=32", "game.rounds=50"):
        assert sample("ppi", "mixed", setting) != sample("ppi", "mixed"), setting
    assert sample("ppi", "mixed", "ppi.phases=3") == sample("ppi", "mixed")


# What a unit costs ----------------------------------------------------------------------------------------------------

COSTS = {"fit": 1e-6, "plan": 3e-5, "measure": 2e-5, "play": 4e-7, "update": 3e-7, REST: 0.02}


class Machine:
    """In place of short runs: every part costs what `COSTS` says per unit; the first run of all is slow."""

    def __init__(self, monkeypatch) -> None:
        self.runs: list[tuple] = []
        monkeypatch.setattr(calibration, "timed_run", self)

    def __call__(self, spec, config, threads, device):
        first = not self.runs
        self.runs.append((spec, config))
        seconds = {part: units * COSTS[part] for part, units in work_of(spec, config, threads, torch.device(device), -1).items()}
        total = sum(seconds.values()) + 100 * first
        del seconds[REST]
        halves = [(iteration, part, each / 2 + 50 * first) for iteration in (0, 1) for part, each in seconds.items()]
        return pd.DataFrame(halves, columns=["iteration", "part", "seconds"]), total


@pytest.mark.parametrize(("agent", "pool"), [("ppi", "mixed"), ("ppi", "extortion"), ("a2c", "mixed"), ("a2c", "mutual-extortion"), ("coala", "meta")])
def test_the_estimate_is_the_work_times_what_it_costs(agent, pool, monkeypatch):
    machine = Machine(monkeypatch)
    config = load_preset("cpu", ["a2c.batch_growth=4"], pool)
    for done in (-1, 10):
        expected = sum(units * COSTS[part] for part, units in work_of(spec(agent, pool), config, 1, CPU, done).items())
        assert Calibration(1, "cpu").seconds(spec(agent, pool), config, done) == pytest.approx(expected)
    assert len(machine.runs) > 3


def test_a_whole_run_of_ppi_by_hand(monkeypatch):
    """Preset cpu, mixed pool, one thread: 30 phases on 4096 + 512 (k - 1) episodes, 3 passes; 40 passes over D_0 before."""
    Machine(monkeypatch)
    fitted = 2 * 100 * (40 * 4096 + 3 * sum(4096 + 512 * k for k in range(30)))
    planned = 100 * (30 * 2 * 512 + 2 * 3 * 256)
    seconds = 1e-6 * fitted + 3e-5 * planned + 2e-5 * 30 * 2 * 512 + 0.02 * 31
    assert Calibration(1, "cpu").seconds(spec("ppi", "mixed"), load_preset("cpu"), -1) == pytest.approx(seconds)


def test_a_whole_run_of_a2c_by_hand(monkeypatch):
    """Preset cpu, Step 1: 15 000 batches of 512, 151 measurements on as many, curves at the last of them."""
    Machine(monkeypatch)
    rounds = 15_000 * 512 * 100
    seconds = (4e-7 + 3e-7) * rounds + 2e-5 * 100 * (151 * 512 + 3 * 256) + 0.02 * 151
    assert Calibration(1, "cpu").seconds(spec("a2c", "tabular"), load_preset("cpu", (), "tabular"), -1) == pytest.approx(seconds)


def test_a_whole_run_of_a2c_with_a_growing_batch_by_hand(monkeypatch):
    """Preset cpu, mixed pool: two learners, 12 000 batches of 128 that grow eightfold after 40 %; 121 measurements, curves at two."""
    Machine(monkeypatch)
    rounds = 2 * 128 * 100 * sum(8 ** max((k / 11_999 - 0.4) / 0.6, 0) for k in range(12_000))
    seconds = (4e-7 + 3e-7) * rounds + 2e-5 * 100 * (121 * 2 * 128 + 2 * 3 * 256) + 0.02 * 121
    assert Calibration(1, "cpu").seconds(spec("a2c", "mixed"), load_preset("cpu"), -1) == pytest.approx(seconds)


def test_samples_grow_until_they_last_long_enough_and_are_kept(monkeypatch):
    machine = Machine(monkeypatch)
    ours = Calibration(1, "cpu")
    config = load_preset("cpu")
    ours.seconds(spec("ppi", "mixed"), config, -1)
    lasting = [sum(units * COSTS[part] for part, units in work_of(*run, 1, CPU, -1).items() if part != REST) for run in machine.runs]
    assert all(seconds < ENOUGH for seconds in lasting[:-1]) and ENOUGH <= lasting[-1] < 2 * GROWTH * ENOUGH
    n = len(machine.runs)
    ours.seconds(spec("ppi", "learners"), config, 3)
    assert len(machine.runs) == n
    ours.seconds(spec("ppi", "mixed"), replace(config, model=replace(config.model, hidden=32)), -1)
    assert len(machine.runs) > n


def test_a_machine_that_takes_no_time_ends_too(monkeypatch):
    nothing = pd.DataFrame({"iteration": [0], "part": ["fit"], "seconds": [0.0]})
    monkeypatch.setattr(calibration, "timed_run", lambda *arguments: (nothing, 0.0))
    assert Calibration(1, "cpu").seconds(spec("ppi", "mixed"), load_preset("cpu"), -1) == 0


# The short run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["ppi", "a2c", "coala"])
def test_a_short_run_is_a_real_one_and_leaves_nothing(agent, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads = torch.get_num_threads()
    asked, config = spec(agent, "mixed"), load_preset("smoke")
    table, seconds = timed_run(*sample_of(asked, config, 0), 1)
    parts = set(work_of(asked, config, 1, CPU, -1)) - {REST}
    assert set(table["part"]) == parts and 0 < table["seconds"].sum() < seconds < math.inf
    assert list(tmp_path.iterdir()) == [] and torch.get_num_threads() == threads


def test_a_short_run_that_fails_is_told():
    config = load_preset("smoke", ["coala.meta_batch=2", "coala.meta_agents=9"])
    with pytest.raises(RunError, match="the timed run failed: coala.meta_batch = 2 is too small"):
        Calibration(1, "cpu").seconds(spec("coala", "mixed"), config, -1)
