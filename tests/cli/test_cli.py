"""The command line: arguments, output and exit status. Training is a stub, except once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st

import coopctx
from coopctx import machine
from coopctx.cli import app as cli
from coopctx.cli.options import parse_seeds
from coopctx.errors import CoopctxError, RunError, UsageError
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.presets import load_preset
from coopctx.launch import job as job_module
from coopctx.launch import jobs
from coopctx.launch.display import PlainProgress
from coopctx.launch.job import Job, Outcome
from coopctx.launch.jobs import run_side_by_side
from coopctx.launch.local import Processes
from coopctx.runs.manifest import read_manifest
from coopctx.runs.progress import SilentProgress
from coopctx.runs.read import Results

TRAIN = ["train", "--agent", "ppi", "--pool", "mixed", "--preset", "smoke"]


class Stub:
    """In place of training: records a row per phase, and does in each phase what the test asks for."""

    def __init__(self, monkeypatch) -> None:
        self.each_phase = lambda seed, phase: None
        self.threads: list[int] = []
        monkeypatch.setattr(job_module, "execute", self)
        monkeypatch.setattr(torch, "set_num_threads", self.threads.append)

    def __call__(self, spec, config, run, results, device, threads, progress) -> None:
        progress.begin(f"{spec.name} seed {spec.seed}", config.ppi.phases, run.iteration)
        for phase in range(run.iteration + 1, config.ppi.phases + 1):
            self.each_phase(spec.seed, phase)
            for opponent, rate in (("learner", 0.75), ("tabular", 0.125)):
                where = {"iteration": phase, "learner": 1, "opponent": opponent, "player": "ego"}
                run.record("training", [{**where, "cooperation_rate": rate, "reward": 0.5, "episodes": 8}])
            run.checkpoint({"phase": phase})
            progress.iteration(phase, {"cooperation_learner": 0.75})
        run.finish({"weight": torch.zeros(1)})
        progress.end()


@pytest.fixture
def stub(monkeypatch) -> Stub:
    return Stub(monkeypatch)


def raising(error: BaseException, at_phase: int):
    def each_phase(seed: int, phase: int) -> None:
        if phase == at_phase:
            raise error

    return each_phase


# What is printed on request ---------------------------------------------------------------------------------------


def test_version_and_help(coopctx_main):
    assert coopctx_main("--version") == (0, f"coopctx {coopctx.__version__}\n", "")
    for arguments in ([], ["--help"], *([name, "--help"] for name in typer.main.get_command(cli.app).commands)):
        status, out, err = coopctx_main(*arguments)
        assert status == 0 and "Examples:" in out and err == ""
    assert "coopctx train --agent ppi --pool mixed --opponent-id --seeds 0-9" in coopctx_main("train", "--help")[1]


def test_help_and_refused_options_need_neither_torch_nor_pandas():
    typed = (
        ["--help"], [*TRAIN, "--seeds", "a"], [*TRAIN, "--preset", "huge"], [*TRAIN, "--set", "ppi.rollouts=0"],
        ["train", "--agent", "dqn", "--pool", "mixed"], ["train", "--agent", "ppi", "--pool", "x"],
    )  # fmt: skip
    done = "; ".join(f"main({arguments})" for arguments in typed)
    check = f"import sys; from coopctx.cli import main; {done}; sys.exit(not sys.modules.keys().isdisjoint({{'torch', 'pandas'}}))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, check=False).returncode == 0


# Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train", "--pool", "mixed"], 2, "Missing option '--agent'"),
        (["train", "--agent", "dqn", "--pool", "mixed"], 2, "unknown agent 'dqn'; allowed: ppi"),
        (["train", "--agent", "ppi", "--pool", "x"], 2, "unknown pool 'x'; allowed: mixed, tabular, learners"),
        (["train", "--agent", "ppi", "--pool", "learners", "--opponent-id"], 2, "--opponent-id"),
        ([*TRAIN, "--preset", "huge"], 2, "unknown preset 'huge'; allowed: smoke, cpu, paper"),
        ([*TRAIN, "--set", "ppi.rolouts=1"], 2, "unknown setting 'ppi.rolouts'; did you mean ppi.rollouts?"),
        ([*TRAIN, "--set", "ppi.rollouts=0"], 2, "ppi.rollouts must be an integer >= 1, not 0"),
        ([*TRAIN, "--set", "ppi.rollouts"], 2, "must have the form KEY=VALUE"),
        ([*TRAIN, "--seed", "-1"], 2, "--seed must be a whole number >= 0, not '-1'"),
        ([*TRAIN, "--seed", "a"], 2, "--seed must be a whole number >= 0, not 'a'"),
        ([*TRAIN, "--seeds", "9-0"], 2, "--seeds must be like 0-9 or 0,2,5-7"),
        ([*TRAIN, "--seeds", "a"], 2, "--seeds must be like 0-9 or 0,2,5-7"),
        ([*TRAIN, "--seeds", "0-999999999"], 2, "--seeds allows 1000 seeds at most"),
        ([*TRAIN, "--seed", "1", "--seeds", "0-1"], 2, "give --seed or --seeds, not both"),
        ([*TRAIN, "--jobs", "0"], 2, "--jobs must be an integer >= 1, not 0"),
        ([*TRAIN, "--jobs", "two"], 2, "--jobs"),
        ([*TRAIN, "--device", "abacus"], 2, "unknown device 'abacus'; allowed: auto, cpu, cuda"),
        ([*TRAIN, "--engine", "steam"], 2, "unknown engine 'steam'; allowed: local, ray"),
        ([*TRAIN, "--results", "file"], 1, "cannot write file: a file is in the way"),
        ([*TRAIN, "--results", "file/deeper"], 1, "cannot write file/deeper: a file is in the way"),
        (["train", "--colour"], 2, "No such option: --colour"),
        (["tain"], 2, "No such command 'tain'"),
        (["plot"], 2, "Missing argument"),
        (["plot", "fig99"], 2, "unknown figure 'fig99'"),
        (["plot", "fig1", "--format", "gif"], 2, "unknown format 'gif'"),
        (["plot", "fig1", "--preset", "huge"], 2, "unknown preset 'huge'"),
        (["plot", "fig1"], 1, "no finished run"),
    ],
)
def test_bad_input_is_refused_in_one_line(coopctx_main, stub, arguments, status, message):
    Path("file").write_text("")
    got, out, err = coopctx_main(*arguments)
    assert (got, out) == (status, "")
    assert message in err and err.startswith("coopctx: ") and err.count("\n") == 1
    assert {entry.name for entry in Path().iterdir()} <= {"file", "results"}


def test_cuda_is_refused_where_there_is_none(coopctx_main, stub, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert coopctx_main(*TRAIN, "--device", "cuda")[0] == 1
    assert not Path("results").exists()
    assert machine.resolve_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert machine.resolve_device("auto") == machine.resolve_device("cuda") == "cuda"


def test_ray_is_refused_where_it_is_not_installed(coopctx_main, stub, monkeypatch):
    for module in ("ray", "coopctx.launch.on_ray"):
        monkeypatch.setitem(sys.modules, module, None)
    status, out, err = coopctx_main(*TRAIN, "--engine", "ray")
    assert (status, out) == (1, "") and not Path("results").exists()
    assert err == "coopctx: --engine ray needs Ray, which is not installed here: in a clone: pip install '.[ray]'\n"


@pytest.mark.parametrize(
    ("seed", "seeds", "chosen"),
    [(None, None, [0]), ("7", None, [7]), (None, "0-3", [0, 1, 2, 3]), (None, "5, 0-1,5,5-6", [5, 0, 1, 6])],
)
def test_seeds(seed, seeds, chosen):
    assert parse_seeds(seed, seeds) == chosen


@given(st.text(alphabet="0123456789-, a٣") | st.text())
def test_any_text_as_seeds_is_taken_or_refused(text):
    for arguments in ((text, None), (None, text)):
        try:
            chosen = parse_seeds(*arguments)
        except UsageError:
            continue
        assert chosen and all(seed >= 0 for seed in chosen) and len(set(chosen)) == len(chosen)


# One run ----------------------------------------------------------------------------------------------------------


def test_a_run_is_trained_reported_and_left_alone_when_finished(coopctx_main, stub):
    status, out, err = coopctx_main(*TRAIN, "--opponent-id", "--seed", "3", "--set", "ppi.phases=2")
    assert (status, err) == (0, "")
    folder = Path("results/smoke/ppi-mixed-opponent-id/seed-3")
    assert f"{folder}: written" in out and "phase 2/2" in out
    assert "0.750" in out and "0.125" in out and "0.500" in out
    assert stub.threads == [machine.available_cores()]
    command = "coopctx train --agent ppi --pool mixed --opponent-id --preset smoke --seed 3 --set ppi.phases=2"
    assert read_manifest(folder)["command"] == command

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    stub.each_phase = raising(AssertionError("trained again"), 1)
    status, out, err = coopctx_main(*command.split()[1:])
    assert (status, err) == (0, "") and "was finished already, nothing to do" in out and "0.750" in out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_interrupted_run_says_how_to_go_on_and_does(coopctx_main, stub):
    stub.each_phase = raising(KeyboardInterrupt(), 3)
    status, _, err = coopctx_main(*TRAIN)
    assert (status, err) == (130, "coopctx: interrupted; the same command resumes after the last completed phase\n")
    assert "without --fresh" in coopctx_main(*TRAIN, "--fresh")[2]
    stub.each_phase = lambda seed, phase: None
    status, out, _ = coopctx_main(*TRAIN)
    assert status == 0 and "resuming, 2 of 3 phases are done" in out and "phase 1/3" not in out


def test_another_configuration_is_refused_until_fresh(coopctx_main, stub):
    coopctx_main(*TRAIN)
    changed = [*TRAIN, "--set", "ppi.rollouts=9"]
    status, _, err = coopctx_main(*changed)
    assert status == 1 and "ppi.rollouts: 2 there, 9 here" in err and err.count("\n") == 1
    assert coopctx_main(*changed, "--fresh")[0] == 0
    assert read_manifest(Path("results/smoke/ppi-mixed/seed-0"))["configuration"]["ppi"]["rollouts"] == 9


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RunError("the disk is on fire"), "coopctx: the disk is on fire\n"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            ValueError("two\nlines"),
            "coopctx: ValueError: two lines (traceback in results/smoke/ppi-mixed/seed-0/run.json)\n",
        ),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_failing_run_is_told_in_one_line_and_resumes(coopctx_main, stub, error, message):
    stub.each_phase = raising(error, 2)
    status, _, err = coopctx_main(*TRAIN)
    assert status == 1 and message in err and err.count("\n") == 1
    assert read_manifest(Path("results/smoke/ppi-mixed/seed-0"))["state"] == "failed"
    stub.each_phase = lambda seed, phase: None
    assert "resuming, 1 of 3 phases are done" in coopctx_main(*TRAIN)[1]


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(coopctx_main, stub):
    stub.each_phase = raising(RunError("enough"), 3)
    coopctx_main(*TRAIN)
    path = Path("results/smoke/ppi-mixed/seed-0/checkpoint.pt")
    path.write_bytes(path.read_bytes()[:-9])
    stub.each_phase = lambda seed, phase: None
    status, out, err = coopctx_main(*TRAIN)
    assert (status, err) == (0, "") and f"{path} is damaged: going on from the checkpoint before it" in out
    assert "resuming, 1 of 3 phases are done" in out


def test_a_damaged_table_of_a_finished_run_is_told(coopctx_main, stub):
    coopctx_main(*TRAIN)
    path = Path("results/smoke/ppi-mixed/seed-0/training.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    status, _, err = coopctx_main(*TRAIN)
    assert status == 1 and f"{path} is damaged" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "coopctx: interrupted"),
        (
            OSError(28, "No space left on device", "figures/fig1.png"),
            1,
            "coopctx: figures/fig1.png: No space left on device",
        ),
        (CoopctxError("no\nway"), 1, "coopctx: no way"),
    ],
)
def test_nothing_ends_in_a_traceback(coopctx_main, monkeypatch, error, status, line):
    def draw(*arguments):
        raise error

    monkeypatch.setattr("coopctx.figures.draw", draw)
    assert coopctx_main("plot", "fig1") == (status, "", f"{line}\n")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 TB")])
def test_too_little_memory_is_told_in_one_line(coopctx_main, monkeypatch, error):
    monkeypatch.setattr("coopctx.figures.draw", lambda *arguments: raising(error, 0)(0, 0))
    status, _, err = coopctx_main("plot", "fig1")
    assert status == 1 and err.startswith("coopctx: not enough memory") and err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--version"], ["train", "--help"]])
def test_output_that_cannot_be_written_is_told_in_one_line(arguments):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        ended = subprocess.run([sys.executable, "-m", "coopctx", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1 and "No space left on device" in ended.stderr and ended.stderr.count("\n") == 1


def test_a_path_that_is_not_text_is_printed_all_the_same(coopctx_main, stub):
    status, out, err = coopctx_main(*TRAIN, "--results", "\udcff")
    assert (status, err) == (0, "") and "\\udcff/smoke/ppi-mixed/seed-0: written" in out


# Several seeds ----------------------------------------------------------------------------------------------------


def job(results: Path, seed: int) -> Job:
    spec = RunSpec("ppi", "mixed", False, seed, "smoke")
    return Job(spec, load_preset("smoke"), results, "cpu", 1, False, ("coopctx",))


def work(job: Job, progress) -> Outcome:
    """What a worker process does here: seed 1 fails, seed 2 dies, seed 3 never ends."""
    seed = job.spec.seed
    progress.begin(f"seed {seed}", 1, 0)
    if seed == 1:
        return Outcome(seed, job.directory, "failed", "as planned")
    if seed == 2:
        os._exit(9)
    if seed == 3:
        job.results.joinpath("started").write_text(str(os.getpid()))
        time.sleep(600)
    progress.iteration(1, {})
    return Outcome(seed, job.directory, "finished")


def test_one_failing_seed_leaves_the_others_running_and_an_interruption_stops_them(tmp_path, quick_processes):
    lines: list[str] = []
    outcomes = run_side_by_side(
        [job(tmp_path, seed) for seed in (2, 1, 0)], 3, lambda: PlainProgress(lines.append), Processes(work)
    )
    assert [(outcome.seed, outcome.state) for outcome in outcomes] == [(2, "failed"), (1, "failed"), (0, "finished")]
    assert "ended unexpectedly (exit status 9" in outcomes[0].message and outcomes[1].message == "as planned"
    assert "seed 0: phase 1/1" in lines

    class Interrupt(SilentProgress):
        def begin(self, title, total, done, unit="phase") -> None:
            while not (tmp_path / "started").exists() or not (tmp_path / "started").read_text():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side([job(tmp_path, 3)], 1, Interrupt, Processes(work))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "started").read_text()), 0)


def test_a_summary_names_what_failed(coopctx_main, stub, monkeypatch):
    def here(todo, workers, new_progress, engine, overall):
        assert workers == 2 and {job.threads for job in todo} == {max(1, machine.available_cores() // 2)}
        return [job_module.run_one(job, new_progress()) for job in todo]

    monkeypatch.setattr(jobs, "run_side_by_side", here)

    def fail_seed_1(seed, phase):
        if seed == 1:
            raise RunError("out of luck")

    stub.each_phase = fail_seed_1
    status, out, err = coopctx_main(*TRAIN, "--seeds", "0-2", "--jobs", "2")
    assert status == 1 and err == "coopctx: seed 1: out of luck\ncoopctx: 1 of 3 seeds failed: 1\n"
    assert out.count(": written") == 2
    assert Results(Path("results"), "smoke").seeds("ppi-mixed") == [0, 2]


# The whole line, unstubbed ----------------------------------------------------------------------------------------


def test_from_training_to_the_figure(coopctx_main):
    smaller = ["--set", "ppi.initial_episodes=64", "--set", "game.rounds=8", "--set", "measure.episode_games=4"]
    status, _, err = coopctx_main(*TRAIN, *smaller, "--device", "cpu")
    assert (status, err) == (0, "")
    status, out, err = coopctx_main("plot", "fig1", "--preset", "smoke", "--format", "png")
    assert (status, err) == (0, "") and "figures-smoke/fig1.png" in out
    assert Path("figures-smoke/fig1.png").stat().st_size > 1000
