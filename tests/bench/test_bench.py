"""The benchmark at toy size: its report and its errors. No test depends on the speed of the machine."""

import io
import json
import math
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from coopctx import native
from coopctx.agents.ppi.planner import returns, stratified_uniforms
from coopctx.agents.trunk import Gates, step
from coopctx.bench.estimators import measure_estimators
from coopctx.bench.growth import changes_of_a2c, changes_of_ppi, measure_growth
from coopctx.bench.markdown import NONE, markdown, stored
from coopctx.bench.measure import jax_ports, measure
from coopctx.bench.parts import iteration_seconds, phase_seconds
from coopctx.bench.race import CPU, Contestant, Engine, engines, race, using
from coopctx.bench.rows import Report, Sizes
from coopctx.bench.tables import tables
from coopctx.bench.work import learner_with, tabular_episodes, untrained_model
from coopctx.cli import app as cli
from coopctx.errors import CoopctxError, RunError, UsageError
from coopctx.experiments.presets import load_preset
from coopctx.game.sampling import choose
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
THREADS = min(2, available_cores())
COUNTS = sorted({1, THREADS})  # of threads that planner, training and A2C are measured on
SMALL = ["game.rounds=5", "model.hidden=16", "ppi.batch_size=8", "a2c.batch_size=8"]


@pytest.fixture(scope="module")
def report():
    """One measurement of everything; it leaves PyTorch and the choice of the kernel as they were."""
    before = torch.get_num_threads(), native.kernel_for
    report = measure("smoke", SMALL, threads=THREADS, repeats=1, sizes=TOY)
    assert (torch.get_num_threads(), native.kernel_for) == before
    return report


def expected_names(*extra):
    kernel, exact = native.load(), native.load("fp32")
    optional = ["native fp32"] if kernel and exact and kernel.precision == "bf16" else []
    return ["in use", *optional, "reference", *extra, *(["JAX"] if jax_ports() else [])]


# What is reported ----------------------------------------------------------------------------------------------------


def test_every_row_is_there(report):
    for rates, names in (
        (report.planner, expected_names("eager bf16")),
        (report.training, expected_names()),
        (report.iteration, ["in use", "reference", *(["JAX"] if jax_ports() else [])]),
    ):
        assert [(rate.name, rate.threads) for rate in rates] == [(name, threads) for threads in COUNTS for name in names]
    assert [phase.name for phase in report.phase] == ["in use", "reference"]
    assert [estimate.name for estimate in report.estimator] == ["expected", "sampled"]
    assert [products.threads for products in report.machine.products] == COUNTS
    assert report.machine.threads == THREADS and report.machine.cpu and report.machine.torch == torch.__version__


def test_all_numbers_are_positive_and_finite(report):
    rows = [*report.planner, *report.training, *report.phase, *report.iteration, *report.estimator]
    numbers = [value for row in rows for value in asdict(row).values() if isinstance(value, float)]
    numbers += [rate for products in report.machine.products for rate in (products.fp32, products.bf16)]
    numbers += [value for row in report.growth for part in row.parts for value in asdict(part).values() if isinstance(value, float)]
    assert len(numbers) > 30
    assert all(math.isfinite(number) and number > 0 for number in numbers)


def test_ratios_follow_from_the_rates(report):
    by_threads = [
        [row for row in rows if row.threads == threads]
        for rows in (report.planner, report.training, report.iteration)
        for threads in COUNTS
    ]
    for rows in (report.phase, *by_threads):
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
    peak = {products.threads: products for products in report.machine.products}
    for rate in report.planner:
        everything = rate.per_second * flops / (1e9 * getattr(peak[rate.threads], rate.dtype))
        if rate.runs_on == "native":  # rollouts that coincide are computed once
            assert 0 < rate.matmul_share < everything
        else:
            assert rate.matmul_share == pytest.approx(everything)


def test_shares_of_training_and_of_a2c_count_forward_and_backward_products(report):
    """Per agent-round: 3 H^2 weights of the GRU and H per output; a product is 2 operations per weight, backward twice."""
    peak = {products.threads: products for products in report.machine.products}
    for rate in report.training:
        flops = 3 * 2 * (3 * 16**2 + 16 * (2 + 2 * 2 * 5))
        assert rate.matmul_share == pytest.approx(rate.per_second * flops / (1e9 * getattr(peak[rate.threads], rate.dtype)))
    dtype, forward = report.training[0].dtype, 2 * (3 * 16**2 + 16 * 3)
    for row in report.growth:
        if row.agent == "a2c" and not row.changed:
            rounds = 2 * 8 * 5
            kept = report.iteration[0].runs_on == "native"
            for part, passes in zip(row.parts, (1, 2 if kept else 3), strict=True):
                reached = passes * forward * rounds / part.seconds / 1e9
                assert part.matmul_share == pytest.approx(reached / getattr(peak[row.threads], dtype))
                assert part.per_million == pytest.approx(1e6 * part.seconds * row.threads / rounds)


def test_growth_has_a_row_per_change_and_times_what_was_changed(report, monkeypatch):
    expected = [("ppi", change, THREADS) for change in changes_of_ppi(load_preset("smoke", SMALL))]
    expected += [("a2c", change, threads) for change in changes_of_a2c(load_preset("smoke", SMALL)) for threads in COUNTS]
    assert [(row.agent, row.changed, row.threads) for row in report.growth] == expected

    def seconds(config, threads, sizes):
        assert sizes.iteration_episodes >= config.a2c.batch_size or sizes is TOY
        return float(config.model.hidden + 100 * config.ppi.rollouts), float(config.a2c.batch_size + 100 * config.ppi.horizon)

    for name in ("phase_seconds", "iteration_seconds"):
        monkeypatch.setattr(f"coopctx.bench.growth.{name}", seconds)
    products = {1: {dtype: SimpleNamespace(per_second=1e9) for dtype in ("fp32", "bf16")}}
    rows = measure_growth(load_preset("smoke", SMALL), [1], 3, TOY, products)
    taken = {(row.agent, row.changed): tuple(part.seconds for part in row.parts) for row in rows}
    assert taken["ppi", ""] == (216, 508) and taken["ppi", "hidden 32"] == (232, 508) and taken["ppi", "4 rollouts"] == (416, 508)
    assert taken["ppi", "horizon 10"] == (216, 1008) and taken["a2c", "batch 32"] == (216, 532) and taken["a2c", "hidden 8"] == (208, 508)


def test_a_report_is_read_back_as_it_was_written(report):
    assert Report.from_json(report.to_json()) == report
    with pytest.raises(ValueError, match="not a report of this version"):
        Report.from_json('{"coopctx": "0.1.0"}')


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
    for told in ("planner", "training", "phase", "iteration of A2C", "agent-rounds", "estimators", "PyTorch fp32", "PyTorch bf16", "1 thread"):
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


def test_markdown_is_tables_and_nothing_else(report, monkeypatch, capsys):
    monkeypatch.setattr("coopctx.bench.measure.measure", lambda *arguments, **options: report)
    assert cli.main(["bench", "--markdown"]) == 0
    printed = capsys.readouterr()
    assert printed.out == markdown(report) and printed.err == ""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.out.splitlines() if line.startswith("|")]
    starts = [number for number, row in enumerate(rows) if row[0] == "---"]
    assert [rows[start - 1][0] for start in starts] == ["", "PPI, per phase", "A2C, per iteration", "estimator of Q"]
    assert [len(row) for row in rows] == [n for n, count in ((8, 3 + 3 * len(COUNTS)), (8, 9), (8, 2 + 5 * len(COUNTS)), (4, 4)) for _ in range(count)]
    rates = {(row[0], row[1]): row[2:] for row in rows}
    used, reference = report.planner[0], next(rate for rate in report.planner if rate.name == "reference")
    assert [float(cell) for cell in rates["planner, M simulated rounds/s", "1"][:2]] == pytest.approx([rate.per_second / 1e6 for rate in (used, reference)], rel=0.01)
    assert float(rows[starts[3] - 2][5]) == pytest.approx(report.growth[-1].parts[1].per_million, rel=0.01)


def test_json_and_markdown_are_not_printed_together(capsys):
    assert cli.main(["bench", "--json", "--markdown"]) == 2
    assert "--json and --markdown: one of them" in capsys.readouterr().err


def test_stored_measurements_follow_one_another_by_hidden_size(report, tmp_path):
    assert stored(tmp_path) == f"{NONE}\n"
    wide = replace(report, settings={**report.settings, "model": {"hidden": 99, "embedding": 1}})
    (tmp_path / "bench").mkdir()
    for name, each in (("a", wide), ("b", report)):
        (tmp_path / "bench" / f"{name}.json").write_text(each.to_json())
    assert stored(tmp_path) == f"{markdown(report)}\n{markdown(wide)}"
    (tmp_path / "bench" / "c.json").write_text("{")
    with pytest.raises(RunError, match="c.json: no measurement"):
        stored(tmp_path)


# The JAX port --------------------------------------------------------------------------------------------------------


def test_it_does_without_jax(monkeypatch):
    for name in ("coopctx.bench.jax_port", "coopctx.bench.jax_a2c"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(name, raising=False)
    monkeypatch.setitem(sys.modules, "jax", None)
    assert jax_ports() is None


@pytest.mark.parametrize(("setting", "codes"), [("game.continuation=0.5", 6), ("game.noise=0.4", 5)])
def test_what_is_timed_is_in_the_game_of_the_settings(setting, codes):
    config = load_preset("smoke", (*SMALL, setting, "ppi.initialisation=flax"))
    data, model = tabular_episodes(config, 64), untrained_model(config)
    assert model.state_dict()["observation.weight"].shape[1] == codes and not model.state_dict()["gru.bias_ih_l0"].any()
    assert not learner_with(config, data).model.state_dict()["gru.bias_ih_l0"].any()
    assert (~data.going_on()[:, -1]).any() == (codes == 6)
    shown = (data.observations[:, 1:].long() - 1) // 2  # the learner's own action, as it was played
    assert ((shown != data.actions) & (shown < 2)).any() == ("noise" in setting)


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


def small_a2c(*settings):
    from coopctx.agents.a2c.player import untrained

    config = load_preset("smoke", [*SMALL, *settings])
    models = [untrained(config, 0, stream(0, "model", number)) for number in (1, 2)]
    return config, models


@torch.no_grad()
def test_the_port_of_a2c_plays_as_the_reference_does():
    """Round by round with PyTorch's step, the same numbers choose the same actions in all seats."""
    pytest.importorskip("jax")
    from coopctx.bench import jax_a2c, jax_port

    config, models = small_a2c()
    together, apart, rounds = 5, 3, config.game.rounds
    for model in models:
        for parameter in model.parameters():
            parameter.mul_(3)
    uniforms = torch.rand(rounds, 2, together + 2 * apart, generator=stream(0, "uniforms"))
    tables = torch.rand(2, apart, 5, 2, generator=stream(0, "tables"))
    tables /= tables.sum(3, keepdim=True)
    states = tuple(jax_port.initial_state(model).weights for model in models)
    opponents = jax_a2c.Tables(*map(jax_port.to_jax, tables))
    game = config.game.matrix()
    played = jax_a2c.play(states, opponents, jax_port.to_jax(uniforms), jax_port.jnp.array(game.payoffs))

    rows, mine = together + 2 * apart, (slice(0, apart + together), slice(apart, None))
    theirs = (slice(apart + together, None), slice(0, apart))
    seen, before, paid = torch.zeros(2, rows).long(), torch.full((2, rows), 2), torch.zeros(2, rows)
    hidden = [torch.zeros(apart + together, model.hidden) for model in models]
    for t in range(rounds):
        actions = torch.empty(2, rows).long()
        for seat, model in enumerate(models):
            gates, own = model.gates(), mine[seat]
            hidden[seat] = step(gates, hidden[seat], model.index(seen[seat, own], before[seat, own]), paid[seat, own], None)
            logits = (torch.nn.functional.silu(hidden[seat]) @ gates.head_weight.T + gates.head_bias)[:, :-1]
            actions[seat, own] = choose(logits.softmax(1), uniforms[t, seat, own])
            table = tables[1 - seat][torch.arange(apart), seen[seat, theirs[seat]]]
            actions[seat, theirs[seat]] = choose(table, uniforms[t, seat, theirs[seat]])
            batch = played[seat]
            assert batch.seen[t].tolist() == seen[seat, own].tolist() and batch.actions[t].tolist() == actions[seat, own].tolist()
        before, paid = actions, torch.stack([game.reward(actions[i], actions[1 - i]) for i in (0, 1)])
        seen = torch.stack([game.observe(actions[i], actions[1 - i]) for i in (0, 1)])
        assert all(played[i].rewards[t].tolist() == paid[i, mine[i]].tolist() for i in (0, 1))
    assert all(played[i].seen[rounds].tolist() == seen[i, mine[i]].tolist() for i in (0, 1))


@pytest.mark.parametrize(("normalise", "decay"), [("off", 0), ("together", 0.5), ("per-opponent", 0), ("per-opponent", 0.9)])
def test_the_port_of_a2c_learns_as_the_reference_does(normalise, decay):
    pytest.importorskip("jax")
    from coopctx.agents.a2c.learner import A2CLearner
    from coopctx.bench import jax_a2c, jax_port

    changed = ["a2c.max_grad_norm=0.05", "a2c.value_weight=0.3", "a2c.reward_scale=0.3", "a2c.gae_lambda=0.7"]
    config, _ = small_a2c(*changed, f"a2c.normalise_advantages={normalise}", f"a2c.variance_decay={decay}", "a2c.iterations=3")
    learner = A2CLearner(1, config.game.matrix(), config.model, config.a2c, 0, 0, CPU)
    learning, drawn = jax_a2c.Learning(jax_port.initial_state(learner.model)), tabular_episodes(config, 24)
    for iteration in (1, 2, 3):
        episodes = drawn[8 * iteration - 8 : 8 * iteration]
        numbers = [jax_port.jnp.float32(number) for number in schedule_at(config.a2c, iteration)]
        learning, terms = jax_a2c.update(learning, jax_port.to_batch(episodes), tuple(numbers), (3, 5), config.a2c)
        with using(Engine("reference", "PyTorch", "fp32", None), 1):
            ours = learner.update(episodes, [3, 5], iteration)
        assert terms.tolist() == pytest.approx([float(ours.policy), float(ours.value), float(ours.entropy)], abs=1e-5)
    for name, weights in learner.model.state_dict().items():
        torch.testing.assert_close(torch.tensor(learning.state.weights[name].tolist()), weights, rtol=0, atol=1e-4)


def schedule_at(a2c, iteration: int) -> tuple[float, float]:
    """Learning rate and entropy weight: from the first to the final one in equal steps (share 1)."""
    done = (iteration - 1) / (a2c.iterations - 1)
    rates, weights = (a2c.learning_rate, a2c.final_learning_rate), (a2c.entropy_weight, a2c.final_entropy_weight)
    return tuple(first + done * (final - first) for first, final in (rates, weights))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_iteration_of_the_port_changes_both_learners(threads):
    pytest.importorskip("jax")
    from coopctx.bench import jax_a2c

    config, models = small_a2c("a2c.normalise_advantages=per-opponent")
    call = jax_a2c.iteration(config, models, together=3, apart=4, threads=threads)
    assert all(seconds > 0 for seconds in (*call(), *call()))
