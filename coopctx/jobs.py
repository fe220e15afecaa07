"""Carrying out training runs: one in this process, or several side by side in processes of their own.

A run's failure leaves the others running, except those that need it; Ctrl-C stops them all at once, and their
checkpoints remain.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, NamedTuple, cast

import pandas as pd
import torch
from rich.console import Console

from coopctx.config import Config, load_preset, to_dict
from coopctx.errors import CoopctxError, Interrupted, RunError, UsageError
from coopctx.experiments import RunSpec, all_needs
from coopctx.progress import (
    Counts,
    Overall,
    PipeProgress,
    PlainOverall,
    PlainProgress,
    Progress,
    RichOverall,
    RichProgress,
    SilentProgress,
    new_display,
)
from coopctx.store import Run, check_writable, is_finished, read_manifest, read_run_table
from coopctx.training import execute

LAST_MEASUREMENTS = 5  # what a run is summed up by: the mean over the last ones (PPI: each phase is one)


@dataclass(frozen=True)
class Job:
    """One run and how to carry it out."""

    spec: RunSpec
    config: Config
    results: Path
    device: str  # "cpu" or "cuda"
    threads: int
    fresh: bool
    command: tuple[str, ...]  # what to type to get this run alone

    @property
    def directory(self) -> Path:
        return self.spec.directory(self.results)


@dataclass(frozen=True)
class Outcome:
    """How a job ended; "unchanged": the run was finished before, nothing was done."""

    seed: int
    directory: Path
    state: Literal["finished", "unchanged", "failed"]
    message: str = ""  # of a failure


def train(
    *,
    agent: str,
    pool: str,
    opponent_id: bool,
    preset: str,
    seeds: Sequence[int],
    overrides: Sequence[str],
    results: Path,
    device: str,
    jobs: int | None,
    fresh: bool,
    console: Console,
) -> list[Outcome]:
    """Begin or resume a run per seed; as `train_runs`."""
    specs = [RunSpec(agent, pool, opponent_id, seed, preset) for seed in seeds]
    options = {"results": results, "device": device, "jobs": jobs, "fresh": fresh, "console": console}
    return train_runs(specs, overrides=overrides, **options)  # type: ignore[arg-type]


def train_runs(
    specs: Sequence[RunSpec],
    *,
    overrides: Sequence[str],
    results: Path,
    device: str,
    jobs: int | None,
    console: Console,
    fresh: bool = False,
) -> list[Outcome]:
    """Begin or resume runs, at most `jobs` at a time (None: one per core), telling progress on `console`.

    A run starts when all that it needs of `specs` is finished, and fails with what it needs. The outcomes are in the order
    of the specs. Raises UsageError for what cannot be asked for, RunError where nothing can be run, Interrupted on Ctrl-C.
    """
    workers = workers_for(jobs)
    configs = {spec: load_preset(spec.preset, overrides, spec.pool) for spec in specs}
    place = resolve_device(device)
    check_writable(results)
    unfinished = sum(fresh or not is_finished(spec.directory(results)) for spec in specs)
    workers = min(workers, unfinished) or 1
    threads = max(1, available_cores() // workers)
    todo = [
        Job(spec, config, results, place, threads, fresh, command_of(spec, overrides, results, device))
        for spec, config in configs.items()
    ]
    try:
        with _progresses(console) as (new_progress, overall):
            return _carry_out(todo, workers, new_progress, overall)
    except KeyboardInterrupt:
        same = "the same command without --fresh" if fresh else "the same command"
        kept = "completed phase" if {spec.agent for spec in specs} == {"ppi"} else "measurement"
        raise Interrupted(f"interrupted; {same} resumes after the last {kept}") from None


def workers_for(jobs: int | None) -> int:
    """How many runs at a time ``--jobs`` means; None: one per core. UsageError for less than one."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs must be an integer >= 1, not {jobs}")
    return jobs or available_cores()


def _carry_out(
    jobs: Sequence[Job], workers: int, new_progress: Callable[[], Progress], overall: Overall
) -> list[Outcome]:
    """The finished ones are only looked at; the rest run side by side, a single one in this process."""
    finished = [job for job in jobs if not job.fresh and is_finished(job.directory)]
    outcomes = {job: run_one(job, SilentProgress()) for job in finished}
    rest = _without_unmet([job for job in jobs if job not in outcomes], outcomes)
    if len(rest) == 1:
        outcomes[rest[0]] = _run_here(rest[0], new_progress())
    elif rest:
        outcomes.update(zip(rest, run_side_by_side(rest, workers, new_progress, overall=overall), strict=True))
    return [outcomes[job] for job in jobs]


def _without_unmet(waiting: Sequence[Job], outcomes: dict[Job, Outcome]) -> list[Job]:
    """The waiting jobs but those that need a failed run; what these come to is added to ``outcomes``."""
    failed = {job.spec for job, outcome in outcomes.items() if outcome.state == "failed"}
    left = []
    for job in waiting:
        unmet = [need for need in all_needs(job.spec) if need in failed]
        if unmet:
            message = f"needs {unmet[0].name} seed {unmet[0].seed}, which failed"
            outcomes[job] = Outcome(job.spec.seed, job.directory, "failed", message)
        else:
            left.append(job)
    return left


def resolve_device(name: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; UsageError for another name, RunError where CUDA is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; allowed: auto, cpu, cuda")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError("--device cuda: no CUDA device is available here; --device cpu or auto")
    return name


def available_cores() -> int:
    """The cores this process may use, where the system tells; otherwise all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def command_of(spec: RunSpec, overrides: Sequence[str], results: Path, device: str) -> tuple[str, ...]:
    """The command that makes this run alone, defaults left out except those that name the run."""
    options = list(spec.command)
    options += [word for override in overrides for word in ("--set", override)]
    options += ["--results", str(results)] if results != Path("results") else []
    options += ["--device", device] if device != "auto" else []
    return tuple(options)


def run_one(job: Job, progress: Progress) -> Outcome:
    """Carry out one job in this process. Whatever goes wrong, except an interruption, becomes a failed Outcome."""
    try:
        keys, settings = job.spec.keys, to_dict(job.config)
        with Run.open(
            job.directory, keys, settings, job.device, job.fresh, threads=job.threads, command=job.command
        ) as run:
            if run.finished:
                return Outcome(job.spec.seed, job.directory, "unchanged")
            if run.warning:
                progress.note(run.warning)
            torch.set_num_threads(job.threads)
            execute(job.spec, job.config, run, job.results, torch.device(job.device), job.threads, progress)
        return Outcome(job.spec.seed, job.directory, "finished")
    except CoopctxError as error:
        return Outcome(job.spec.seed, job.directory, "failed", str(error))
    except Exception as error:  # unforeseen: one line for the user, the traceback for the developer in the manifest
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(job.spec.seed, job.directory, "failed", f"{what} (traceback in {job.directory / 'run.json'})")


def run_side_by_side(
    jobs: Sequence[Job],
    workers: int,
    new_progress: Callable[[], Progress],
    work: Callable[[Job, Progress], Outcome] = run_one,
    overall: Overall | None = None,
) -> list[Outcome]:
    """Carry out `jobs` in processes of their own, at most `workers` at a time; the outcomes in the order of the jobs.

    A job waits for those among them that it needs, and fails with them. `work` is what a process does; it must be
    importable there. `overall` is told how many jobs have ended. On any exception here the processes are stopped first.
    """
    waiting = list(jobs)
    running: dict[Connection, _Worker] = {}
    outcomes: dict[Job, Outcome] = {}
    try:
        while waiting or running:
            while len(running) < workers and (job := _next_ready(waiting, running)):
                waiting.remove(job)
                connection, worker = _start(job, new_progress(), work)
                running[connection] = worker
            if overall:
                overall.tell(_counts(waiting, running, outcomes))
            for connection in cast(list[Connection], wait(list(running))):
                outcome = _receive(connection, running[connection])
                if outcome is not None:
                    outcomes[running.pop(connection).job] = outcome
                    waiting = _without_unmet(waiting, outcomes)
        if overall:
            overall.tell(_counts(waiting, running, outcomes))
    finally:
        for worker in running.values():
            worker.process.kill()  # every file is replaced atomically: there is nothing to tidy up
        for connection, worker in running.items():
            worker.process.join()
            connection.close()
    return [outcomes[job] for job in jobs]


def summary(directory: Path) -> dict[str, float]:
    """What a finished run came to: wall_seconds, and cooperation_<opponent> and reward_<opponent>, which are means over
    its learners and its last measurements. Raises RunError naming a damaged file."""
    last = last_measurements(read_run_table(directory, "training").to_pandas())
    means = last[last.player == "ego"].groupby("opponent")[["cooperation_rate", "reward"]].mean()
    measured = {
        f"{short}_{opponent}": float(means.loc[opponent, column])
        for opponent in means.index
        for short, column in (("cooperation", "cooperation_rate"), ("reward", "reward"))
    }
    return {**measured, "wall_seconds": read_manifest(directory)["wall_seconds"]}


def last_measurements(training: pd.DataFrame) -> pd.DataFrame:
    """The rows of a training table that belong to its last `LAST_MEASUREMENTS` iterations."""
    return training[training["iteration"].isin(training["iteration"].drop_duplicates().nlargest(LAST_MEASUREMENTS))]


class _Worker(NamedTuple):
    job: Job
    process: BaseProcess
    progress: Progress


def _next_ready(waiting: Sequence[Job], running: Mapping[Connection, _Worker]) -> Job | None:
    """The first job that needs none of those which have yet to end."""
    unfinished = {job.spec for job in (*waiting, *(worker.job for worker in running.values()))}
    return next((job for job in waiting if unfinished.isdisjoint(all_needs(job.spec))), None)


def _counts(
    waiting: Sequence[Job], running: Mapping[Connection, _Worker], outcomes: Mapping[Job, Outcome]
) -> Counts:
    failed = sum(outcome.state == "failed" for outcome in outcomes.values())
    return Counts(len(outcomes) - failed, len(running), failed, len(waiting))


def _start(job: Job, progress: Progress, work: Callable[[Job, Progress], Outcome]) -> tuple[Connection, _Worker]:
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in an unknown state
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_in_worker, args=(work, job, sender), daemon=True)
    with _without_interruption():  # the new process inherits this, so Ctrl-C reaches the parent alone
        process.start()
    sender.close()
    return receiver, _Worker(job, process, progress)


def _in_worker(work: Callable[[Job, Progress], Outcome], job: Job, connection: Connection) -> None:
    def send(message: tuple[str, tuple]) -> None:
        try:
            connection.send(message)
        except OSError:  # the parent is gone: stop as if killed, the checkpoint remains
            os._exit(1)

    send(("outcome", (work(job, PipeProgress(send)),)))


def _receive(connection: Connection, worker: _Worker) -> Outcome | None:
    """Pass one message of a worker on to its progress; its outcome if it has ended, however it did."""
    try:
        method, arguments = connection.recv()
        if method != "outcome":
            getattr(worker.progress, method)(*arguments)
            return None
        (outcome,) = arguments
    except (EOFError, OSError):
        worker.process.join()
        ended = f"its process ended unexpectedly (exit status {worker.process.exitcode}; out of memory?)"
        outcome = Outcome(worker.job.spec.seed, worker.job.directory, "failed", ended)
    connection.close()
    worker.process.join()
    worker.progress.end()
    return outcome


@contextmanager
def _without_interruption() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run_here(job: Job, progress: Progress) -> Outcome:
    outcome = run_one(job, progress)
    progress.end()
    return outcome


@contextmanager
def _progresses(console: Console) -> Iterator[tuple[Callable[[], Progress], Overall]]:
    """What makes a run's progress, and what counts the runs: in one live display on a terminal, plain lines elsewhere."""

    def print_line(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if console.is_terminal:
        with new_display(console) as display:
            yield lambda: RichProgress(display), RichOverall(display)
    else:
        yield lambda: PlainProgress(print_line), PlainOverall(print_line)
