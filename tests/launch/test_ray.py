"""Runs as tasks of a real Ray cluster of two workers, started here."""

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install '.[ray]')")

from coopctx.experiments.pools import RunSpec  # noqa: E402
from coopctx.experiments.presets import load_preset  # noqa: E402
from coopctx.launch import on_ray  # noqa: E402
from coopctx.launch.job import Job  # noqa: E402
from coopctx.launch.jobs import run_side_by_side  # noqa: E402
from coopctx.runs.manifest import read_manifest  # noqa: E402
from coopctx.runs.progress import SilentProgress  # noqa: E402
from coopctx.runs.read import Results  # noqa: E402

TRAIN = ["train", "--agent", "ppi", "--pool", "mixed", "--preset", "smoke", "--device", "cpu"]
SWEEP = ["sweep", "--preset", "smoke", "--device", "cpu", "--seeds", "0-1", "--vary", "ppi.rollouts=2,4"]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import tests
    ray.init("local", num_cpus=2, _system_config={"worker_niceness": 0}, **quiet)
    yield
    ray.shutdown()


class Killer(threading.Thread):
    """Kills the process that works on a run, once, when that has completed a phase and not yet all of them."""

    def __init__(self, run: Path) -> None:
        super().__init__(daemon=True)
        self._run, self._over = run, threading.Event()
        self.killed_after = 0

    def run(self) -> None:
        while not self._over.wait(0.002):
            try:
                manifest = json.loads((self._run / "run.json").read_text())
                worker = int((self._run / ".lock").read_text().removeprefix("process "))
            except (OSError, ValueError):  # not begun
                continue
            if manifest["state"] == "running" and manifest["iteration"] >= 1:
                os.kill(worker, signal.SIGKILL)
                self.killed_after = manifest["iteration"]
                return

    def stop(self) -> None:
        self._over.set()
        self.join()


def test_a_sweep_whose_worker_is_killed_ends_with_the_same_parquet(coopctx_main):
    assert coopctx_main(*SWEEP, "--results", "undisturbed")[0] == 0
    killer = Killer(Path("disturbed/sweep/ppi.rollouts=4/smoke/ppi-mixed/seed-0"))
    killer.start()
    status, out, err = coopctx_main(*SWEEP, "--results", "disturbed", "--engine", "ray")
    killer.stop()
    assert (status, err) == (0, "") and "4 of 4 runs done, 0 running, 0 failed" in out
    assert killer.killed_after >= 1
    assert f"ppi-mixed seed 0, ppi.rollouts=4: resuming, {killer.killed_after} of 3 phases are done" in out
    for name in ("sweep/smoke.parquet", "sweep/ppi.rollouts=4/smoke/ppi-mixed/seed-0/weights.safetensors"):
        assert Path("disturbed", name).read_bytes() == Path("undisturbed", name).read_bytes()


def test_one_run_is_begun_left_alone_refused_and_begun_afresh(coopctx_main):
    command = [*TRAIN, "--engine", "ray"]
    status, out, err = coopctx_main(*command)
    assert (status, err) == (0, "") and "phase 3/3" in out and "results/smoke/ppi-mixed/seed-0: written" in out
    assert "was finished already" in coopctx_main(*TRAIN)[1]
    status, _, err = coopctx_main(*command, "--set", "ppi.rollouts=4")
    assert status == 1 and "ppi.rollouts: 2 there, 4 here" in err and err.count("\n") == 1
    assert coopctx_main(*command, "--set", "ppi.rollouts=4", "--fresh")[0] == 0
    assert read_manifest(Path("results/smoke/ppi-mixed/seed-0"))["configuration"]["ppi"]["rollouts"] == 4


def job(results: Path, seed: int) -> Job:
    spec = RunSpec("ppi", "mixed", False, seed, "smoke")
    return Job(spec, load_preset("smoke"), results, "cpu", 1, False, ("coopctx",))


def dying(job: Job, number: int, messages) -> None:
    """In place of a run: its worker dies again and again, except for seed 0."""
    if job.spec.seed:
        os._exit(1)
    return on_ray.Outcome(job.spec.seed, job.directory, "finished")


def test_a_run_that_kills_every_worker_fails_and_one_that_is_not_to_be_seen_too(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "_in_task", dying)
    monkeypatch.setattr(on_ray, "RETRIES", 1)
    unseen, died = run_side_by_side([job(tmp_path, 0), job(tmp_path, 1)], 2, SilentProgress, on_ray.RayTasks())
    assert (unseen.state, died.state) == ("failed", "failed") and Results(tmp_path, "smoke").seeds("ppi-mixed") == []
    assert "the cluster's workers must share this folder" in unseen.message
    assert "its Ray task failed, 1 retries included" in died.message


def endless(job: Job, number: int, messages) -> None:
    """In place of a run: tells that it begins, and never ends."""
    messages.put((number, ("begin", (str(os.getpid()), 1, 0))))
    time.sleep(600)


def test_an_interruption_stops_the_workers(tmp_path, monkeypatch):
    workers: list[int] = []

    class Interrupt(SilentProgress):
        def begin(self, title, total, done, unit="phase") -> None:
            workers.append(int(title))
            raise KeyboardInterrupt

    monkeypatch.setattr(on_ray, "_in_task", endless)
    with pytest.raises(KeyboardInterrupt):
        run_side_by_side([job(tmp_path, 0)], 1, Interrupt, on_ray.RayTasks())
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(workers[0], 0)
            time.sleep(0.05)


def test_an_address_at_which_nothing_answers_is_named(coopctx_main, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    status, out, err = coopctx_main("train", "--agent", "ppi", "--pool", "mixed", "--engine", "ray")
    assert (status, out) == (1, "") and err.startswith("coopctx: no Ray cluster answers at RAY_ADDRESS=127.0.0.1:1")
    assert err.count("\n") == 1
