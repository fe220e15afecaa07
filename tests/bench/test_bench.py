"""The benchmark at toy size: its report and its errors. No test depends on the speed of the machine."""

import io
import json
import math
import sys
from dataclasses import asdict, replace

import pytest
import torch
from rich.console import Console

from coopctx import native
from coopctx.agents.ppi.planner import returns, stratified_uniforms
from coopctx.agents.trunk import Gates
from coopctx.bench.estimators import measure_estimators
from coopctx.bench.measure import jax_port, measure
from coopctx.bench.parts import iteration_seconds, phase_seconds
from coopctx.bench.race import CPU, Contestant, Engine, engines, race, using
from coopctx.bench.rows import Sizes
from coopctx.bench.tables import tables
from coopctx.bench.work import learner_with, tabular_episodes, untrained_model
from coopctx.cli import app as cli
from coopctx.errors import CoopctxError, RunError, UsageError
from coopctx.experiments.presets import load_preset
from coopctx.game.streams import stream
from coopctx.launch.job import Outcome
from coopctx.machine import available_cores

TOY = Sizes(
    games=4,
    fit_steps=2,
    collect_episodes=4,
    iterations=1,
    iteration_episodes=4,
    estimator_steps=2,
    estimator_batch=8,
    visiting_games=2,
    states=8,
    draws=4,
    matrix=16,
    seconds=0.0,
)
SMALL = ["game.rounds=5", "model.hidden=16", "ppi.batch_size=8", "a2c.batch_size=8"]


@pytest.fixture(scope="module")
def report():
    """One measurement of everything; it leaves PyTorch and the choice of the kernel as they were."""
    before = torch.get_num_threads(), native.kernel_for
    report = measure("smoke", SMALL, threads=1, repeats=2, sizes=TOY)
    assert (torch.get_num_threads(), native.kernel_for) == before
    return report


def expected_names(*extra):
    kernel, exact = native.load(), native.load("fp32")
    optional = ["native fp32"] if kernel and exact and kernel.precision == "bf16" else []
    return ["in use", *optional, "reference", *extra, *(["JAX"] if jax_port() else [])]


# What is reported ----------------------------------------------------------------------------------------------------


def test_every_row_is_there(report):
    assert [rate.name for rate in report.planner] == expected_names("eager bf16")
    assert [rate.name for rate in report.training] == expected_names()
    assert [phase.name for phase in report.phase] == ["in use", "reference"]
    assert [rate.name for rate in report.iteration] == ["in use", "reference"]
    assert [estimate.name for estimate in report.estimator] == ["expected", "sampled"]
    assert report.machine.threads == 1 and report.machine.cpu and report.machine.torch == torch.__version__


def test_all_numbers_are_positive_and_finite(report):
    rows = [*report.planner, *report.training, *report.phase, *report.iteration, *report.estimator]
    numbers = [value for row in rows for value in asdict(row).values() if isinstance(value, float)]
    numbers += [report.machine.matmul_fp32, report.machine.matmul_bf16]
    assert len(numbers) > 30
    assert all(math.isfinite(number) and number > 0 for number in numbers)


def test_ratios_follow_from_the_rates(report):
    for rows in (report.planner, report.training, report.phase, report.iteration):
        (reference,) = (row for row in rows if row.name == "reference")
        assert [row.ratio for row in rows] == pytest.approx([row.per_second / reference.per_second for row in rows])
    for phase in report.phase:
        episodes = 2 * report.settings["ppi"]["episodes_per_phase"]
        assert phase.per_second == pytest.approx(episodes / (phase.fit_seconds + phase.collect_seconds))
    for rate in report.iteration:
        assert rate.per_second == pytest.approx(1 / (rate.play_seconds + rate.update_seconds))
    expected, sampled = report.estimator
    cost = sampled.variance * sampled.seconds
    assert [expected.ratio, sampled.ratio] == pytest.approx([cost / (expected.variance * expected.seconds), 1])


def test_the_share_of_the_matmul_rate_counts_the_products_of_a_rollout(report):
    outputs, hidden, horizon = 2 + 2 * 2 * 5, 16, report.settings["ppi"]["horizon"]
    flops = 2 * hidden * outputs + 2 * hidden * 3 * hidden * (horizon - 1) / horizon
    peak = {"fp32": report.machine.matmul_fp32 * 1e9, "bf16": report.machine.matmul_bf16 * 1e9}
    for rate in report.planner:
        everything = rate.per_second * flops / peak[rate.dtype]
        if rate.runs_on == "native":  # rollouts that coincide are computed once
            assert 0 < rate.matmul_share < everything
        else:
            assert rate.matmul_share == pytest.approx(everything)


def test_a_busy_machine_is_told(report):
    def shown(granted):
        console = Console(width=80, file=io.StringIO())
        console.print(tables(replace(report, machine=replace(report.machine, granted=granted))))
        return console.file.getvalue()

    assert "matrix products got 50%" in shown(0.5)
    assert "busy:" not in shown(0.97)


def test_an_exact_estimator_has_no_ratio():
    config = load_preset("smoke", [*SMALL, "ppi.horizon=1"])
    expected, sampled = measure_estimators(config, 1, 1, TOY)
    assert (expected.variance, expected.ratio) == (0, None)
    assert sampled.variance > 0


# How it is measured --------------------------------------------------------------------------------------------------


def test_contestants_take_turns():
    order = []
    contestants = [Contestant(name, "", "fp32", lambda name=name: order.append(name), 1) for name in "AB"]
    rates = race(contestants, repeats=3, seconds=0.0)
    assert order == list("AABB") + list("ABABAB")
    assert [rate.ratio for rate in rates] == [1, 1], "no reference takes part"


def test_quick_work_is_repeated_until_it_can_be_timed():
    calls = []
    (rate,) = race([Contestant("A", "", "fp32", lambda: calls.append(1), 1)], repeats=1, seconds=1e-3)
    assert len(calls) > 10
    assert rate.seconds < 1e-3


def test_without_a_kernel_the_reference_is_in_use(monkeypatch):
    monkeypatch.setattr(native, "load", lambda precision=None: None)
    assert [(engine.name, engine.runs_on, engine.kernel) for engine in engines(16)] == [
        ("in use", "PyTorch", None),
        ("reference", "PyTorch", None),
    ]


def test_what_computes_is_put_back_after_an_error():
    before = torch.get_num_threads(), native.kernel_for
    with pytest.raises(ValueError), using(Engine("x", "PyTorch", "fp32", None), 3):
        assert native.kernel_for(CPU, 16) is None
        assert torch.get_num_threads() == 3
        raise ValueError
    assert (torch.get_num_threads(), native.kernel_for) == before


def test_a_phase_is_scaled_up_to_its_full_size(monkeypatch):
    configs = []

    def timings(config, threads):
        configs.append(config)
        return {"fit": 2.0, "plan": 3.0, "measure": 100.0}

    monkeypatch.setattr("coopctx.bench.parts._timings", timings)
    settings = ["ppi.initial_episodes=100", "ppi.epochs=4", "ppi.batch_size=10", "ppi.episodes_per_phase=40"]
    config = load_preset("smoke", [*settings, "game.rounds=60"])
    sizes = replace(TOY, fit_steps=8, collect_rounds=3, collect_episodes=20)
    assert phase_seconds(config, 1, sizes) == (2.0 * 40 / 8, 3.0 * (60 / 3) * (40 / 20))
    fitting, collecting = configs
    assert (fitting.game.rounds, fitting.ppi.initial_episodes, fitting.ppi.epochs) == (60, 80, 1)
    assert (collecting.game.rounds, collecting.ppi.episodes_per_phase) == (3, 20)
    assert (collecting.ppi.rollouts, collecting.ppi.horizon) == (config.ppi.rollouts, config.ppi.horizon)


def test_an_iteration_is_the_mean_of_those_after_the_first_at_the_full_batch(monkeypatch):
    asked = []

    def timed_run(agent, config, threads, iteration):
        asked.append((agent, config.a2c, iteration))
        return {"play": 3.0, "update": 6.0, "measure": 100.0}

    monkeypatch.setattr("coopctx.bench.parts._timed_run", timed_run)
    config = load_preset("smoke", ["a2c.batch_size=80"])
    assert iteration_seconds(config, 1, replace(TOY, iterations=3, iteration_episodes=20)) == (4.0, 8.0)
    ((agent, a2c, iteration),) = asked
    assert (agent, a2c.batch_size, a2c.iterations, iteration) == ("a2c", 20, 4, 4)
    assert a2c.episode_iterations == (1,), "timings begin anew after the first"


def test_a_failed_run_is_told(monkeypatch):
    monkeypatch.setattr("coopctx.launch.calibration.run_one", lambda job, progress: Outcome(0, job.directory, "failed", "no space"))
    with pytest.raises(RunError, match="no space"):
        phase_seconds(load_preset("smoke", SMALL), 1, TOY)


# The command ---------------------------------------------------------------------------------------------------------


def test_json_is_one_object_and_nothing_else(report, monkeypatch, capsys):
    monkeypatch.setattr("coopctx.bench.measure.measure", lambda *arguments, **options: report)
    assert cli.main(["bench", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(json.dumps(asdict(report)))
    assert printed.err == ""


def test_tables_tell_ratios_threads_dtype_and_machine(report, monkeypatch, capsys):
    monkeypatch.setattr("coopctx.bench.measure.measure", lambda *arguments, **options: report)
    monkeypatch.setattr("coopctx.cli.show.console", Console(width=80))
    assert cli.main(["bench"]) == 0
    text = capsys.readouterr().out
    for told in ("planner", "training", "phase", "iteration of A2C", "estimators", "PyTorch fp32", "PyTorch bf16", "1 thread"):
        assert told in text
    assert report.machine.cpu in text and torch.__version__ in text
    assert "…" not in text, "nothing is cut off on a terminal of 80 columns"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--repeats", "0"], "--repeats must be an integer from 1"),
        (["--repeats", "-1"], "--repeats"),
        (["--repeats", "many"], "--repeats"),
        (["--threads", "0"], "--threads must be an integer from 1"),
        (["--threads", str(available_cores() + 1)], "--threads"),
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--set", "ppi.rollout=8"], "ppi.rollout"),
        (["--set", "ppi.rollouts=0"], "ppi.rollouts must be"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, told, capsys):
    assert cli.main(["bench", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert told in printed.err


@pytest.mark.parametrize("error", [UsageError, RunError])
def test_failures_end_with_their_status(error, monkeypatch, capsys):
    def fail(*arguments, **options) -> CoopctxError:
        raise error("told")

    monkeypatch.setattr("coopctx.bench.measure.measure", fail)
    assert cli.main(["bench"]) == error.exit_status
    assert "told" in capsys.readouterr().err


# The JAX port --------------------------------------------------------------------------------------------------------


def test_it_does_without_jax(monkeypatch):
    monkeypatch.delitem(sys.modules, "coopctx.bench.jax_port", raising=False)
    monkeypatch.delattr("coopctx.bench.jax_port", raising=False)
    monkeypatch.setitem(sys.modules, "jax", None)
    assert jax_port() is None


@torch.no_grad()
def test_the_port_plans_as_the_reference_does():
    pytest.importorskip("jax")
    from coopctx.bench import jax_port as bench_jax

    config = load_preset("smoke", SMALL)
    model = untrained_model(config)
    for parameter in model.parameters():
        parameter.mul_(3)
    gates = Gates(*model.gates())
    hidden = torch.randn(6, model.hidden, generator=stream(0, "hidden"))
    uniforms = stratified_uniforms(6, 4, 7, stream(0, "uniforms"))[:, None]
    ours = returns(gates, model.n_actions, hidden, None, uniforms, 0.9, True)
    time_first = bench_jax.to_jax(uniforms.movedim(3, 0))
    weights, states = bench_jax.transposed(gates), bench_jax.to_jax(hidden)
    theirs = bench_jax.returns(weights, model.n_actions, states, time_first, 0.9)
    torch.testing.assert_close(torch.tensor(theirs.tolist()), ours, rtol=0, atol=1e-4)


def test_the_port_trains_as_the_reference_does():
    pytest.importorskip("jax")
    from coopctx.bench import jax_port as bench_jax

    schedule = ["ppi.initial_epochs=3", "ppi.final_learning_rate=3e-3", "ppi.weight_decay=0.5", "ppi.max_grad_norm=0.1"]
    weights = ["ppi.observation_weight=0.5", "ppi.action_weight=2", "ppi.reward_weight=3"]
    config = load_preset("smoke", [*SMALL, *schedule, *weights])
    data = tabular_episodes(config, config.ppi.batch_size)
    learner = learner_with(config, data)
    state = bench_jax.initial_state(learner.model)
    with using(Engine("reference", "PyTorch", "fp32", None), 1):
        learner.fit(0)
    whole, games = bench_jax.to_batch(data), bench_jax.jnp.arange(len(data))
    for _ in range(3):
        state, _ = bench_jax.gradient_step(state, whole, games, (5, 2), config.ppi)
    for name, ours in learner.model.state_dict().items():
        torch.testing.assert_close(torch.tensor(state.weights[name].tolist()), ours, rtol=0, atol=1e-4)
