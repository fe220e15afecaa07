"""`reproduce`: the runs, their order, failures, figures and report. Training is a stub, except once."""

import itertools
from pathlib import Path

import pytest
import torch

from coopctx import figures as plots
from coopctx.errors import RunError, UsageError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.pools import COALA_POOLS, POOLS, RunSpec, with_needs
from coopctx.experiments.presets import load_preset
from coopctx.launch import job as job_module
from coopctx.launch import plan as dry_run
from coopctx.launch import reproduce
from coopctx.launch.display import Counts, PlainOverall
from coopctx.launch.job import Job, Outcome, RunOptions
from coopctx.launch.jobs import Request, run_side_by_side
from coopctx.launch.local import Processes
from coopctx.runs.progress import SilentProgress
from coopctx.runs.read import Results
from coopctx.runs.run import Run

COMMAND = ["reproduce", "--preset", "smoke", "--agent", "ppi", "--seeds", "0-1", "--device", "cpu"]
TINY = ("game.rounds=8", "ppi.initial_episodes=40", "ppi.episodes_per_phase=10", "measure.episode_games=4")


class Stub:
    """In place of training: two phases of made-up rows. Fails where a test asks for it, and notes the order."""

    def __init__(self, monkeypatch) -> None:
        self.failing: set[tuple[str, int]] = set()
        self.order: list[tuple[str, int]] = []
        monkeypatch.setattr(job_module, "execute", self)
        monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)

    def __call__(self, spec, config, run, results, device, threads, progress) -> None:
        self.order.append((spec.name, spec.seed))
        if (spec.name, spec.seed) in self.failing:
            raise RunError("out of luck")
        fill(run, spec)


def fill(run: Run, spec: RunSpec, phases: tuple[int, ...] = (1, 2, 3), finish: bool = True) -> None:
    pool = POOLS[spec.pool]
    named = ("tit-for-tat", "always-cooperate", "always-defect") if pool.probed else ()
    first = (0,) if pool.pretrained else ()
    for phase, opponent, player in itertools.product((*first, *phases), (*pool.opponents, *named), ("ego", "co")):
        rates = {"cooperation_rate": 0.5 + 0.1 * spec.seed, "reward": 0.5, "episodes": 8}
        for learner in range(1, pool.learners + 1):
            where = {"iteration": phase, "learner": learner, "opponent": opponent, "player": player, **rates}
            run.record("training", [where])
        run.record("episodes", [{**where, "learner": 1, "round": t} for t in range(1, 21)])
    diagnosed = {"iteration": phases[-1], "learner": 1, "quantity": "nll_observation_tabular", "value": 0.6}
    run.record("diagnostics", [diagnosed])
    run.finish({"weight": torch.zeros(1)}) if finish else run.checkpoint({"phase": phases[-1]})


def put(results: Path, spec: RunSpec, overrides=(), **options) -> None:
    settings = to_dict(load_preset(spec.preset, overrides))
    with Run.open(spec.directory(results), spec.keys, settings, "cpu") as run:
        fill(run, spec, **options)


def ask(which: RunSpec, results: Path = Path("results")) -> Request:
    return Request(which, (), results)


def plan(figures, agents, preset, seeds) -> list[RunSpec]:
    return [request.spec for request in reproduce.plan(figures, agents, seeds, RunOptions(Processes(), preset))]


def spec(pool: str, seed: int, opponent_id: bool = False) -> RunSpec:
    return RunSpec("ppi", pool, opponent_id, seed, "smoke")


@pytest.fixture
def stub(monkeypatch, runs_in_this_process) -> Stub:
    return Stub(monkeypatch)


# Which runs --------------------------------------------------------------------------------------------------------


def names(specs) -> list[tuple[str, list[int]]]:
    seeds: dict[str, list[int]] = {}
    for which in specs:
        seeds.setdefault(which.name.removeprefix("ppi-"), []).append(which.seed)
    return [(name, sorted(them)) for name, them in seeds.items()]


@pytest.mark.parametrize(
    ("figures", "seeds", "expected"),
    [
        (["fig3"], [0, 4], [("mixed", [0, 4])]),
        (["fig1"], [1], [("mixed", [1]), ("mixed-opponent-id", [1]), ("learners", [1])]),
        (["fig2"], [9], [("tabular", [0, 9]), ("extortion", [0, 9]), ("mutual-extortion", [9])]),
        (["fig3", "fig1"], [0], [("mixed", [0]), ("mixed-opponent-id", [0]), ("learners", [0])]),
    ],
)
def test_each_figure_has_its_runs_once_with_the_partners_that_step_three_needs(figures, seeds, expected):
    assert names(plan(figures, ["ppi"], "smoke", seeds)) == expected


@pytest.mark.parametrize(("agents", "runs"), [(["ppi"], 60), (["a2c"], 60), ([], 120)])
def test_all_figures_of_ten_seeds_are_sixty_runs_of_each_agent_none_before_what_it_needs(agents, runs):
    specs = plan([], agents, "cpu", range(10))
    assert len(specs) == len(set(specs)) == runs
    for index, which in enumerate(specs):
        assert set(with_needs(which.needs())) <= set(specs[:index])
    assert with_needs(specs) == specs


def test_every_figure_that_is_drawn_is_known():
    assert set(reproduce.RUNS_OF) == {*plots.PAPER_FIGURES, "coala"} <= set(plots.ALL)


def test_coala_s_runs_are_made_for_whoever_asks_for_them():
    asked = plan(["coala"], [], "smoke", [0])
    assert asked == plan([], ["coala"], "smoke", [0]) == plan(["fig1", "coala"], ["coala"], "smoke", [0])
    expected = {(pool, 0) for pool in COALA_POOLS} | {("exact-naive", 1)}  # the partner of exact-mutual
    assert sorted((which.pool, which.seed) for which in asked) == sorted(expected) and {which.agent for which in asked} == {"coala"}
    assert {which.agent for which in plan([], [], "smoke", [0])} == {"ppi", "a2c"}
    assert reproduce.figures_for([], ["coala"]) == reproduce.figures_for(["coala"], []) == ("coala",)
    assert reproduce.figures_for([], []) == tuple(plots.PAPER_FIGURES) and reproduce.figures_for([], ["a2c"]) == ("fig1", "fig3", "fig4")


def test_what_no_agent_has_is_refused():
    with pytest.raises(UsageError, match="unknown figure 'fig9'"):
        plan(["fig9"], [], "smoke", [0])
    with pytest.raises(UsageError, match="unknown agent 'dqn'"):
        plan([], ["dqn"], "smoke", [0])


# Looking without touching -------------------------------------------------------------------------------------------


class Clock:
    """In place of short runs: a phase takes 10 seconds and what comes before the first one 1, whatever the run."""

    def __init__(self, threads: int, device: str) -> None:
        self.threads, self.device = threads, device

    def seconds(self, spec, config, done: int) -> float:
        if spec.pool == "learners":
            raise RunError("no clock")
        return 10.0 * (config.ppi.phases - max(done, 0)) + (done < 0)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(dry_run, "Calibration", Clock)


def test_a_dry_run_tells_states_and_times_and_touches_nothing(coopctx_main, stub, clock):
    results = Path("results")
    put(results, spec("mixed", 0))
    put(results, spec("mixed", 1), phases=(1, 2), finish=False)
    before = sorted(Path().rglob("*"))
    status, out, err = coopctx_main(*COMMAND, "--figure", "fig1", "--dry-run", "--jobs", "2")
    assert (status, err) == (0, "") and sorted(Path().rglob("*")) == before and stub.order == []
    lines = [line.split() for line in out.splitlines()]
    assert ["ppi-mixed", "0", "finished"] in lines
    assert ["ppi-mixed", "1", "to", "resume", "after", "2", "~", "0:10"] in lines
    assert ["ppi-mixed-opponent-id", "1", "to", "do", "~", "0:31"] in lines
    assert ["ppi-learners", "1", "to", "do", "unknown"] in lines
    assert "6 runs: 1 finished, 1 to resume, 4 to do." in out
    assert "About 1:12 of work, by short runs on this machine just now; 2 at a time, about 0:36." in " ".join(out.split())
    assert out.count("Time of ppi-learners unknown: no clock.") == 1


def test_the_longest_run_is_waited_for():
    planned = [
        dry_run.Planned(ask(spec("mixed", 0)), "to do", seconds=100.0),
        dry_run.Planned(ask(spec("mixed", 1)), "to resume", 2, 40.0),
        dry_run.Planned(ask(spec("mixed", 2)), "finished", 3, 0.0),
    ]
    text = " ".join(dry_run.estimate(planned, 4).split())
    assert "About 2:20 of work, by short runs on this machine just now; 2 at a time, about 1:40." in text


@pytest.mark.parametrize(("jobs", "threads"), [(1, 5), (2, 2), (None, 2), (5, 2)])
def test_short_runs_have_the_threads_that_the_runs_will_have(tmp_path, monkeypatch, jobs, threads):
    asked = []
    monkeypatch.setattr(dry_run, "Calibration", lambda *arguments: asked.append(arguments) or Clock(*arguments))
    monkeypatch.setattr(Processes, "cores", lambda self: [5])
    options = RunOptions(Processes(), "smoke", results=tmp_path, device="cpu", jobs=jobs)
    dry_run.look([ask(spec("mixed", seed), tmp_path) for seed in (0, 1)], options)
    assert asked == [(threads, "cpu")]


def test_a_dry_run_names_what_cannot_be_gone_on_with(coopctx_main, clock):
    put(Path("results"), spec("mixed", 0), overrides=("ppi.rollouts=9",))
    manifest = Path("results/smoke/ppi-mixed/seed-1/run.json")
    manifest.parent.mkdir()
    manifest.write_text("{")
    status, out, err = coopctx_main(*COMMAND, "--figure", "fig3", "--dry-run")
    assert status == 1 and out.count("damaged") >= 2
    assert "ppi.rollouts: 9 there, 2 here" in err and "run.json is damaged" in err
    assert err.endswith("coopctx: 2 of 2 runs failed\n") and err.count("\n") == 3


# Carrying it out -----------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_everything_is_run_once_drawn_and_reported(coopctx_main, stub, blank_figures):
    put(Path("results"), spec("tabular", 1))
    status, out, err = coopctx_main(*COMMAND, "--jobs", "1")
    assert (status, err) == (0, "")
    assert len(stub.order) == len(set(stub.order)) == 13 and ("ppi-tabular", 1) not in stub.order
    assert stub.order.index(("ppi-extortion", 2)) < stub.order.index(("ppi-mutual-extortion", 1))
    for name in ("fig1.png", "fig1.pdf", "fig2.png", "fig3.png", "report.md", "report.html"):
        assert Path("figures-smoke", name).stat().st_size > 1000 and f"figures-smoke/{name}" in out
    stub.order.clear()
    assert coopctx_main(*COMMAND)[0] == 0 and stub.order == []


def test_a_failure_takes_along_only_what_needs_it(coopctx_main, stub, blank_figures):
    stub.failing = {("ppi-tabular", 1), ("ppi-learners", 0)}
    status, out, err = coopctx_main(*COMMAND, "--seeds", "0")
    assert status == 1 and err.splitlines() == [
        "coopctx: ppi-learners seed 0: out of luck",
        "coopctx: ppi-tabular seed 1: out of luck",
        "coopctx: ppi-extortion seed 1: needs ppi-tabular seed 1, which failed",
        "coopctx: ppi-mutual-extortion seed 0: needs ppi-tabular seed 1, which failed",
        "coopctx: 4 of 8 runs, figures and reports failed",
    ]
    assert Results(Path("results"), "smoke").seeds("ppi-extortion") == [0]
    assert "figures-smoke/fig1.png" in out and "figures-smoke/report.md" in out
    stub.failing = set()
    stub.order.clear()
    assert coopctx_main(*COMMAND, "--seeds", "0")[0] == 0
    assert set(stub.order) == {("ppi-learners", 0), *((f"ppi-{pool}", seed) for pool, seed in (("tabular", 1), ("extortion", 1), ("mutual-extortion", 0)))}


def test_a_finished_run_of_other_settings_stops_what_needs_it(coopctx_main, stub):
    for seed in (0, 1):
        put(Path("results"), spec("tabular", seed), overrides=("ppi.rollouts=9",))
    status, _, err = coopctx_main(*COMMAND, "--seeds", "0", "--figure", "fig2")
    assert status == 1 and stub.order == []
    assert "ppi-tabular seed 0: " in err and "ppi.rollouts: 9 there, 2 here" in err
    assert "ppi-mutual-extortion seed 0: needs ppi-tabular seed 0, which failed" in err


def test_a_damaged_table_is_left_out_of_figure_and_report_by_name(coopctx_main, stub):
    coopctx_main(*COMMAND, "--figure", "fig3", "--seeds", "0")
    path = Path("results/smoke/ppi-mixed/seed-0/episodes.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = coopctx_main(*COMMAND, "--figure", "fig3", "--seeds", "0")
    assert status == 1 and "episodes.parquet is damaged" in err and "Traceback" not in err
    assert "report.html" in out and Path("figures-smoke/report.html").exists(), "the rest is reported"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figure", "fig9"], "unknown figure 'fig9'; did you mean fig4"),
        (["--agent", "dqn"], "unknown agent 'dqn'; allowed: ppi"),
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--seeds", "3-1"], "--seeds must be like 0-9"),
        (["--jobs", "0"], "--jobs must be an integer >= 1"),
        (["--set", "ppi.rolouts=1"], "did you mean ppi.rollouts?"),
        (["--device", "abacus"], "unknown device 'abacus'"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_begun(coopctx_main, stub, arguments, message):
    status, out, err = coopctx_main("reproduce", *arguments)
    assert (status, out, stub.order) == (2, "", []) and message in err and err.count("\n") == 1
    assert list(Path().iterdir()) == []


# Side by side, in processes -------------------------------------------------------------------------------------------


def work(job: Job, progress) -> Outcome:
    """In a process: notes what is finished already; Step 1 of seed 1 fails."""
    there = sorted(path.name for path in job.results.iterdir())
    (job.results / f"{job.spec.pool}-{job.spec.seed}").write_text(" ".join(there))
    failed = (job.spec.pool, job.spec.seed) == ("tabular", 1)
    return Outcome(job.spec.seed, job.directory, "failed" if failed else "finished", "as planned" if failed else "")


def test_runs_wait_for_what_they_need_and_are_counted(tmp_path, quick_processes):
    specs = plan(["fig2"], [], "smoke", [0])
    todo = [Job(which, load_preset("smoke"), tmp_path, "cpu", 1, False, ("coopctx",)) for which in specs]
    lines: list[str] = []
    outcomes = run_side_by_side(list(reversed(todo)), 1, SilentProgress, Processes(work), PlainOverall(lines.append).tell)
    by_name = {(job.spec.pool, job.spec.seed): outcome for job, outcome in zip(reversed(todo), outcomes, strict=True)}
    assert {name for name, outcome in by_name.items() if outcome.state == "finished"} == {("tabular", 0), ("extortion", 0)}
    assert by_name["mutual-extortion", 0].message == "needs ppi-tabular seed 1, which failed"
    assert not (tmp_path / "extortion-1").exists()
    assert "tabular-0" in (tmp_path / "extortion-0").read_text().split()
    assert lines[-1] == "2 of 5 runs done, 0 running, 3 failed"


def test_counts_are_told_once_each():
    lines: list[str] = []
    overall = PlainOverall(lines.append)
    for counts in (Counts(0, 2, 0, 1), Counts(0, 2, 0, 1), Counts(1, 2, 0, 0), Counts(1, 2, 0, 0), Counts(2, 0, 1, 0)):
        overall.tell(counts)
    assert lines == ["1 of 3 runs done, 2 running, 0 failed", "2 of 3 runs done, 0 running, 1 failed"]


# Unstubbed ----------------------------------------------------------------------------------------------------------


def test_from_nothing_to_the_figure_and_the_report(coopctx_main):
    settings = [word for override in TINY for word in ("--set", override)]
    status, out, err = coopctx_main(*COMMAND, "--seeds", "0", "--figure", "fig3", *settings)
    assert (status, err) == (0, "") and "ppi-mixed seed 0: phase 3/3" in out
    assert Path("figures-smoke/fig3.png").stat().st_size > 1000 and "| **Mixed pool: cooperation with learners" in Path("figures-smoke/report.md").read_text()
