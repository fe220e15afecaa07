"""Sweeps: the runs and their folders, the parquet and the figure. Training is a stub, except once."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.image import imread

from coopctx import figures as plots
from coopctx.analysis import claims
from coopctx.analysis import sweeps as sweep_table
from coopctx.errors import RunError
from coopctx.experiments.pools import POOLS, RunSpec
from coopctx.figures import sensitivity, style
from coopctx.launch import job as job_module
from coopctx.launch import jobs, local, sweep
from coopctx.launch.calibration import Calibration
from coopctx.launch.job import RunOptions
from coopctx.runs.manifest import read_manifest
from coopctx.runs.read import Results

SWEEP = ["sweep", "--preset", "smoke", "--device", "cpu", "--seeds", "0-1"]
ROLLOUTS, HORIZON = ["--vary", "ppi.rollouts=2,4"], ["--vary", "ppi.horizon=5,10"]  # the preset's own values come first
PARQUET = Path("results/sweep/smoke.parquet")
RESULTS = Path("results")
ENCODE = style.encode


def level(rollouts: int, horizon: int, seed: int) -> float:
    """A cooperation rate that differs with everything it should be told apart by."""
    return 0.1 + 0.05 * rollouts + 0.02 * horizon + 0.01 * seed**2


class Stub:
    """In place of training: made-up phases, with other rates early on and for the tabular opponent. Notes what is run."""

    def __init__(self, monkeypatch) -> None:
        self.failing: set[tuple[int, int]] = set()  # rollouts and seed
        self.run: list[tuple[str, int, int, int]] = []
        monkeypatch.setattr(job_module, "execute", self)
        monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)

    def __call__(self, spec, config, run, results, device, threads, progress) -> None:
        self.run.append((spec.pool, config.ppi.rollouts, config.ppi.horizon, spec.seed))
        progress.begin(f"{spec.name} seed {spec.seed}", 6, 0)
        if (config.ppi.rollouts, spec.seed) in self.failing:
            raise RunError("out of luck")
        pool = POOLS[spec.pool]
        final = level(config.ppi.rollouts, config.ppi.horizon, spec.seed)
        sides = itertools.product(range(1, 7), range(1, pool.learners + 1), pool.opponents, ("ego", "co"))
        for phase, learner, opponent, player in sides:
            where = {"iteration": phase, "learner": learner, "opponent": opponent, "player": player}
            late = phase > 1 and opponent == pool.opponents[0] and player == "ego"  # the last five
            rate = final + (0.001 if learner == 1 else -0.001) if late and pool.learners == 2 else final if late else 0.9
            run.record("training", [{**where, "cooperation_rate": rate, "reward": 0.5, "episodes": 8}])
        run.finish({"weight": torch.zeros(1)})


class Here:
    """An engine that carries out each job in this process, as soon as it is started."""

    alone_here = False

    def __init__(self) -> None:
        self._outcomes: dict = {}

    def cores(self):
        return [2]

    def cuda(self):
        return False

    def start(self, job, progress):
        self._outcomes[job] = job_module.run_one(job, progress)

    def ended(self):
        outcomes, self._outcomes = self._outcomes, {}
        return outcomes

    def stop(self):
        pass


@pytest.fixture
def stub(monkeypatch) -> Stub:
    """Training and the figures' files are stubs, and runs are carried out in this process."""
    monkeypatch.setattr(local, "engine", lambda name: Here())
    monkeypatch.setattr(style, "encode", lambda figure, file_format: file_format.encode())
    return Stub(monkeypatch)


def plan(*vary: str, overrides=(), pool="mixed", agent="ppi", opponent_id=False):
    specs = [RunSpec(agent, pool, opponent_id, seed, "smoke") for seed in (0, 3)]
    return sweep.plan(vary, specs, RunOptions(Here(), "smoke", tuple(overrides), RESULTS))


# Which runs, and where ------------------------------------------------------------------------------------------------


def test_a_grid_has_every_combination_once_and_the_presets_own_runs_where_they_always_are():
    requests = plan("ppi.rollouts=4, 2,4", "ppi.inverse_temperature=1e2,2.50")
    assert [(str(request.results), request.spec.seed) for request in requests] == [
        (results, seed)
        for results in (
            "results/sweep/ppi.rollouts=4",
            "results/sweep/ppi.inverse_temperature=2.5,ppi.rollouts=4",
            "results",
            "results/sweep/ppi.inverse_temperature=2.5",
        )
        for seed in (0, 3)
    ]
    assert requests[2].overrides == ("ppi.inverse_temperature=2.5", "ppi.rollouts=4")
    assert requests[2].title == "ppi-mixed seed 0, ppi.inverse_temperature=2.5,ppi.rollouts=4"
    assert requests[4].overrides == () and requests[4].directory == Path("results/smoke/ppi-mixed/seed-0")


def test_settings_of_every_kind_can_be_varied():
    labels = {request.label for request in plan("ppi.estimator=expected,sampled", "game.payoffs=[[3, 0], [5, 1]],[[1,-1],[2,0]]")}
    other = "game.payoffs=[[3.0,0.0],[5.0,1.0]]"
    assert labels == {"", other, "ppi.estimator=sampled", f"{other},ppi.estimator=sampled"}
    for request in plan("game.payoffs=[[3, 0], [5, 1]]", "a2c.zero_readouts=true,false", agent="a2c"):
        assert jobs.load_preset("smoke", request.overrides).game.payoffs == ((3.0, 0.0), (5.0, 1.0))


def test_what_a_run_needs_is_varied_with_it_and_what_is_set_belongs_to_the_name():
    requests = plan("ppi.rollouts=4", overrides=["ppi.phases=2"], pool="extortion")
    assert [(request.spec.pool, request.spec.seed) for request in requests] == [
        ("tabular", 0),
        ("extortion", 0),
        ("tabular", 3),
        ("extortion", 3),
    ]
    assert {request.results for request in requests} == {Path("results/sweep/ppi.phases=2,ppi.rollouts=4")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "ppi.rollouts"], "'ppi.rollouts' must have the form KEY=VALUE,VALUE,…, such as ppi.rollouts=4,8"),
        (["--vary", "ppi.rollouts=4,,8"], "must have the form KEY=VALUE,VALUE"),
        (["--vary", "ppi.rolouts=4"], "unknown setting 'ppi.rolouts'; did you mean ppi.rollouts?"),
        (["--vary", "ppi.rollouts=4,0"], "ppi.rollouts must be an integer >= 1, not 0"),
        (["--vary", "a2c.batch_size=8,16"], "a2c.batch_size: a run of ppi does not read it"),
        ([*ROLLOUTS, "--vary", "ppi.rollouts=8"], "ppi.rollouts is given twice"),
        ([*ROLLOUTS, "--set", "ppi.rollouts=8"], "ppi.rollouts is given twice"),
        ([*ROLLOUTS, "--seeds", "1-0"], "--seeds must be like 0-9"),
        ([*ROLLOUTS, "--agent", "dqn"], "unknown agent 'dqn'; allowed: ppi, a2c"),
        ([*ROLLOUTS, "--jobs", "0"], "--jobs must be an integer >= 1"),
        ([], "Missing option '--vary'"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_begun(coopctx_main, stub, arguments, message):
    status, out, err = coopctx_main("sweep", "--preset", "smoke", *arguments)
    assert (status, out, stub.run) == (2, "", []) and message in err and err.count("\n") == 1
    assert not list(Path().rglob("run.json"))


@pytest.fixture
def clock(monkeypatch):
    """In place of short runs: so many seconds a run as it has rollouts."""
    seconds = lambda self, spec, config, done: float(config.ppi.rollouts)  # noqa: E731
    monkeypatch.setattr(Calibration, "seconds", seconds)


def test_a_dry_run_tells_the_settings_and_what_each_takes(coopctx_main, stub, clock):
    assert coopctx_main("train", "--agent", "ppi", "--pool", "mixed", "--preset", "smoke", "--seed", "1")[0] == 0
    before = sorted(Path().rglob("*"))
    status, out, err = coopctx_main(*SWEEP, *ROLLOUTS, "--dry-run")
    assert (status, err) == (0, "") and sorted(Path().rglob("*")) == before and len(stub.run) == 1
    lines = [line.split() for line in out.splitlines()]
    assert ["ppi-mixed", "1", "finished"] in lines
    assert ["ppi-mixed", "0", "to", "do", "~", "0:02"] in lines
    assert ["ppi-mixed", "ppi.rollouts=4", "0", "to", "do", "~", "0:04"] in lines
    assert "4 runs: 1 finished, 3 to do." in out


# Carrying it out -------------------------------------------------------------------------------------------------------


def test_a_sweep_runs_what_is_lacking_and_leaves_the_rest_alone(coopctx_main, stub):
    train = ["train", "--agent", "ppi", "--pool", "mixed", "--preset", "smoke", "--device", "cpu"]
    assert coopctx_main(*train, "--seeds", "0-1")[0] == 0
    status, out, err = coopctx_main(*SWEEP, *ROLLOUTS)
    assert (status, err) == (0, "") and "ppi-mixed seed 1, ppi.rollouts=4: starting" in out
    assert stub.run == [("mixed", 2, 5, 0), ("mixed", 2, 5, 1), ("mixed", 4, 5, 0), ("mixed", 4, 5, 1)]
    mean = level(4, 5, 0) + 0.005  # seeds 0.01 apart, so the half-width is 0.005 t(1)
    assert f"{mean:.3f}  {mean - 12.7062 * 0.005:.3f} to {mean + 12.7062 * 0.005:.3f}" in out
    for path in (PARQUET, Path("figures-smoke/sensitivity.png"), Path("figures-smoke/sensitivity.pdf")):
        assert str(path) in out and path.exists()

    before = PARQUET.read_bytes()
    assert coopctx_main(*SWEEP, *ROLLOUTS)[0] == 0 and len(stub.run) == 4 and PARQUET.read_bytes() == before
    command = read_manifest(RESULTS / "sweep/ppi.rollouts=4/smoke/ppi-mixed/seed-0")["command"]
    assert "was finished already" in coopctx_main(*command.split()[1:])[1] and len(stub.run) == 4


def test_the_parquet_is_the_same_in_whatever_order_it_grew(coopctx_main, stub):
    for vary in (ROLLOUTS, HORIZON):
        coopctx_main(*SWEEP, *vary)
    for vary in (HORIZON, ROLLOUTS, HORIZON):
        coopctx_main(*SWEEP, *vary, "--results", "others")
    assert PARQUET.read_bytes() == Path("others/sweep/smoke.parquet").read_bytes()
    table = pd.read_parquet(PARQUET)
    assert len(table) == 6 * 48 and not table.isna().any().any()
    final = table.query("iteration > 1 and opponent == 'learner' and player == 'ego'")
    means = final.groupby(["ppi.rollouts", "ppi.horizon", "seed"])["cooperation_rate"].mean()
    assert means.to_dict() == {key: pytest.approx(level(*key)) for key in means.index} and len(means) == 6


def test_other_agents_and_pools_go_into_the_same_parquet(coopctx_main, stub):
    coopctx_main(*SWEEP, *ROLLOUTS)
    coopctx_main(*SWEEP, "--vary", "a2c.batch_size=8,16", "--agent", "a2c")
    status, out, _ = coopctx_main(*SWEEP, *HORIZON, "--pool", "extortion")
    assert status == 0 and "ppi-extortion, preset smoke: cooperation vs fixed-icl" in out
    table = pq.read_table(PARQUET)
    assert {"ppi.rollouts", "a2c.batch_size"} <= set(table.column_names)
    assert set(table["experiment"].to_pylist()) == {"mixed", "extortion"}  # Step 1 was only needed
    figure, _ = sensitivity.build(Results(RESULTS, "smoke"))
    assert [(axes.get_title(), axes.get_xlabel()) for axes in figure.axes] == [
        ("a2c-mixed", "a2c.batch_size"),
        ("ppi-extortion", "ppi.horizon"),
        ("ppi-mixed", "ppi.rollouts"),
    ]


def test_a_failure_is_told_by_its_settings_and_the_others_are_kept(coopctx_main, stub):
    stub.failing = {(4, 1)}
    status, out, err = coopctx_main(*SWEEP, *ROLLOUTS)
    assert status == 1 and err == "coopctx: ppi-mixed seed 1, ppi.rollouts=4: out of luck\ncoopctx: 1 of 4 runs failed\n"
    assert len(sweep_table.finals(sweep_table.read(RESULTS, "smoke"), "smoke")) == 3 and "figures-smoke/sensitivity.png" in out
    stub.failing = set()
    assert coopctx_main(*SWEEP, *ROLLOUTS)[0] == 0 and len(stub.run) == 5


def test_a_damaged_parquet_is_named_and_left_as_it_is(coopctx_main, stub):
    PARQUET.parent.mkdir(parents=True)
    for contents, message in ((b"PAR1", "smoke.parquet is damaged"), (None, "it has no column agent")):
        PARQUET.write_bytes(contents) if contents else pd.DataFrame({"a": [1]}).to_parquet(PARQUET)
        before = PARQUET.read_bytes()
        for command in ([*SWEEP, *ROLLOUTS], ["plot", "sensitivity", "--preset", "smoke"]):
            status, _, err = coopctx_main(*command)
            assert status == 1 and message in err and err.count("\n") == 1 and PARQUET.read_bytes() == before


def test_a_run_from_before_a_setting_existed_has_its_default(coopctx_main, stub):
    coopctx_main(*SWEEP, *HORIZON)
    before = PARQUET.read_bytes()
    pq.write_table(pq.read_table(PARQUET).drop_columns(["ppi.discount"]), PARQUET)
    assert sweep_table.add(RESULTS, "smoke", []) == PARQUET and PARQUET.read_bytes() == before


def test_reports_and_other_figures_do_not_see_sweeps(coopctx_main, stub, clock):
    coopctx_main(*SWEEP, "--vary", "ppi.rollouts=4")
    with pytest.raises(RunError, match="nothing to report"):
        claims.check(Results(RESULTS, "smoke"))
    assert not (RESULTS / "smoke").exists()
    assert "no finished run for fig1" in coopctx_main("plot", "fig1", "--preset", "smoke")[2]
    out = coopctx_main("reproduce", "--preset", "smoke", "--figure", "fig3", "--agent", "ppi", "--seeds", "0", "--dry-run")[1]
    assert "1 runs: 1 to do." in out


# The figure ------------------------------------------------------------------------------------------------------------


def lines(axes) -> dict:
    return {line.get_gid(): line for line in axes.lines if line.get_gid()}


def test_the_figure_shows_each_seed_the_mean_and_its_spread_and_the_presets_value(coopctx_main, stub):
    for vary in (["--vary", "ppi.rollouts=1,2,30"], HORIZON):
        coopctx_main(*SWEEP, *vary)
    coopctx_main(*SWEEP, "--vary", "ppi.rollouts=30", "--seeds", "3")
    figure, missing = sensitivity.build(Results(RESULTS, "smoke"))
    rollouts, horizon = figure.axes
    assert (rollouts.get_xlabel(), rollouts.get_ylabel(), rollouts.get_xscale()) == ("ppi.rollouts", "Cooperation vs learner", "log")
    assert (horizon.get_xlabel(), horizon.get_xscale(), missing) == ("ppi.horizon", "linear", [])
    assert [text.get_text() for text in rollouts.get_xticklabels()] == ["1", "2", "30"]
    assert list(lines(rollouts)["own"].get_xdata()) == [2, 2] and list(lines(horizon)["own"].get_xdata()) == [5, 5]
    seeds = {1: (0, 1), 2: (0, 1), 30: (0, 1, 3)}
    expected = [(value, pytest.approx(level(value, 5, seed))) for value, those in seeds.items() for seed in those]
    dots = lines(rollouts)["ppi-mixed/ppi.rollouts//seeds"]
    assert sorted(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == expected
    (container,) = rollouts.containers
    mean, _, (bars,) = container.lines
    np.testing.assert_allclose(mean.get_ydata(), [np.mean([level(value, 5, seed) for seed in those]) for value, those in seeds.items()])
    heights = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(heights, [2 * np.std([level(value, 5, seed) for seed in those], ddof=1) for value, those in seeds.items()])
    assert figure.texts[-1].get_text() == (
        "Preset smoke: runs of seconds, which show nothing about the paper's claims. "
        "Mean ± 1 s.d. over seeds, a dot each; of a run, the mean over its learners and the last 5 phases. "
        "Dashed: the value of preset smoke. Seeds: ppi-mixed 0-1 (ppi.rollouts=30 0-1, 3)."
    )
    assert rollouts.get_legend() is None


def test_a_grid_has_a_line_for_each_value_of_the_other_setting(coopctx_main, stub):
    coopctx_main(*SWEEP, *ROLLOUTS, *HORIZON, "--vary", "ppi.estimator=sampled,expected")
    figure, _ = sensitivity.build(Results(RESULTS, "smoke"))
    assert [axes.get_xlabel() for axes in figure.axes] == ["ppi.rollouts", "ppi.horizon", "ppi.estimator"]
    estimator = figure.axes[-1]
    assert [text.get_text() for text in estimator.get_xticklabels()] == ["expected", "sampled"]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["preset", "ppi.estimator=sampled", "ppi.estimator=sampled,ppi.horizon=10", "ppi.horizon=10"]
    mean = figure.axes[1].containers[0].lines[0]
    np.testing.assert_allclose(mean.get_ydata(), [level(2, horizon, 0) + 0.005 for horizon in (5, 10)])


def test_one_value_is_no_figure(coopctx_main, stub):
    status, out, err = coopctx_main(*SWEEP, "--vary", "ppi.rollouts=4")
    assert (status, err) == (0, "") and str(PARQUET) in out and "sensitivity" not in out
    status, _, err = coopctx_main("plot", "sensitivity", "--preset", "smoke")
    assert status == 1 and "no setting with two values in results/sweep/smoke.parquet; make some with: coopctx sweep" in err


def test_all_figures_include_the_sweeps(coopctx_main, stub, monkeypatch):
    coopctx_main(*SWEEP, "--vary", "ppi.rollouts=4,8", "--seeds", "0")
    monkeypatch.setattr(style, "encode", ENCODE)
    drawing = plots.draw("all", Results(RESULTS, "smoke"), Path("drawn"), ["png"])
    assert drawing.paths == [Path("drawn/sensitivity.png")] and "no finished run for fig1" in drawing.missing[0]
    assert imread(drawing.paths[0])[..., :3].std() > 0.05


# Unstubbed -------------------------------------------------------------------------------------------------------------


def test_from_nothing_to_the_parquet(coopctx_main):
    tiny = ("game.rounds=8", "ppi.initial_episodes=40", "ppi.episodes_per_phase=10", "measure.episode_games=4")
    settings = [word for override in tiny for word in ("--set", override)]
    status, out, err = coopctx_main(*SWEEP, "--seeds", "0", "--vary", "ppi.rollouts=3", *settings)
    assert (status, err) == (0, "") and "ppi.rollouts=3: phase 3/3" in out
    table = pd.read_parquet(PARQUET)
    assert set(table["game.rounds"]) == {8} and set(table["iteration"]) == {1, 2, 3}


# Devices --------------------------------------------------------------------------------------------------------------


def test_coala_is_trained_on_the_cpu_where_the_others_use_the_gpu(stub, tmp_path, monkeypatch):
    given = {}

    class Gpu(Here):
        def cuda(self):
            return True

        def start(self, job, progress):
            given[job.spec.agent] = job.device
            self._outcomes[job] = job_module.Outcome(job.spec.seed, job.directory, "finished")

    specs = [RunSpec(agent, "mixed", False, 0, "smoke") for agent in ("ppi", "a2c", "coala")]
    jobs.train(specs, RunOptions(Gpu(), "smoke", (), tmp_path, "auto", 1))
    assert given == {"ppi": "cuda", "a2c": "cuda", "coala": "cpu"}
    seen = []
    monkeypatch.setattr("coopctx.launch.calibration.work_of", lambda spec, config, threads, device, done: seen.append(device.type) or {})
    for spec in specs:
        Calibration(1, "cuda")._work(spec, jobs.load_preset("smoke"), -1)
    assert seen == ["cuda", "cuda", "cpu"]


def test_the_caption_names_the_seeds_of_each_kind_of_runs_and_of_points_with_others():
    def panel(name: str, agent: str, knob: str, seeds: dict[int, tuple[int, ...]]) -> sensitivity.SettingPanel:
        rows = [{"value": value, "seed": seed, "cooperation": 0.5} for value, those in seeds.items() for seed in those]
        return sensitivity.SettingPanel(name, agent, "learner", knob, 1, {"": pd.DataFrame(rows)})

    usual = {1: (0, 1), 2: (0, 1), 3: (0, 1)}
    panels = [
        panel("a2c-mixed", "a2c", "a2c.hold", {1: (21,), 2: (21,)}),
        panel("ppi-mixed", "ppi", "ppi.rollouts", usual | {4: (0, 2)}),
        panel("ppi-mixed", "ppi", "ppi.horizon", usual | {9: (5,)}),
    ]
    assert sensitivity._caption(panels, "cpu").endswith(
        "Seeds: a2c-mixed 21; ppi-mixed 0-1 (ppi.rollouts=4 0, 2 and ppi.horizon=9 5)."
    )
