"""Carrying out training runs: one in this process, or several side by side, wherever an engine puts them.

A run's failure leaves the others running, except those that need it; Ctrl-C stops them all at once, and their
checkpoints remain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pandas as pd
import torch
from rich.console import Console

from coopctx.agents.ppi.training import execute
from coopctx.errors import CoopctxError, Interrupted, RunError, UsageError
from coopctx.experiments.pools import RunSpec, all_needs
from coopctx.experiments.settings import Config, load_preset, to_dict
from coopctx.launch.display import (
    Counts,
    LabelledProgress,
    Overall,
    PlainOverall,
    PlainProgress,
    Progress,
    RichOverall,
    RichProgress,
    SilentProgress,
    new_display,
)
from coopctx.runs.run import Run, check_writable, is_finished, read_run_table


@dataclass(frozen=True)
class Request:
    """A run that is asked for.

    overrides: its settings besides the preset's. results: where it and the runs that it needs are kept. label: what tells it
    from runs of the same name and seed that are asked for too; empty where there is none.
    """

    spec: RunSpec
    overrides: tuple[str, ...]
    results: Path
    label: str = ""

    @property
    def directory(self) -> Path:
        return self.spec.directory(self.results)

    @property
    def title(self) -> str:
        return f"{self.spec.name} seed {self.spec.seed}" + (f", {self.label}" if self.label else "")


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
    label: str = ""  # as of a `Request`

    @property
    def directory(self) -> Path:
        return self.spec.directory(self.results)

    def open(self) -> Run:
        """Its directory, opened; raises as `Run.open`."""
        keys, settings = self.spec.keys, to_dict(self.config)
        return Run.open(
            self.directory, keys, settings, self.device, self.fresh, threads=self.threads, command=self.command
        )

    def unmet(self, directories: Iterable[Path]) -> list[RunSpec]:
        """Those of the runs it needs, directly or not, that are in ``directories``."""
        among = set(directories)
        return [need for need in all_needs(self.spec) if need.directory(self.results) in among]


@dataclass(frozen=True)
class Outcome:
    """How a job ended; "unchanged": the run was finished before, nothing was done."""

    seed: int
    directory: Path
    state: Literal["finished", "unchanged", "failed"]
    message: str = ""  # of a failure

    def table(self, name: str) -> pd.DataFrame:
        """A table of the run: training, episodes, diagnostics or timings. RunError where it failed or a file is damaged."""
        if self.state == "failed":
            raise RunError(self.message)
        return read_run_table(self.directory, name).to_pandas()


class Engine(Protocol):
    """Where several jobs are carried out at once."""

    alone_here: bool  # a job that has no company is rather carried out in this very process

    def cores(self) -> list[int]:
        """The CPU cores of each machine. Raises RunError where there is none to be had."""

    def cuda(self) -> bool:
        """Whether there is a CUDA device."""

    def start(self, job: Job, progress: Progress) -> None:
        """Begin a job; ``progress`` is told how far it is, during `ended`."""

    def ended(self) -> dict[Job, Outcome]:
        """Wait until there is news, and pass it on; the jobs that have ended since the last call, however they did."""

    def stop(self) -> None:
        """End the jobs that are still going on, at once."""


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
    engine: Engine,
) -> list[Outcome]:
    """Begin or resume a run per seed; as `train_runs`."""
    specs = [RunSpec(agent, pool, opponent_id, seed, preset) for seed in seeds]
    requests = [Request(spec, tuple(overrides), results) for spec in specs]
    return train_runs(requests, device=device, jobs=jobs, fresh=fresh, console=console, engine=engine)


def train_runs(
    requests: Sequence[Request],
    *,
    device: str,
    jobs: int | None,
    console: Console,
    engine: Engine,
    fresh: bool = False,
) -> list[Outcome]:
    """Begin or resume runs, at most `jobs` at a time (None: one per core), telling progress on `console`.

    A run starts when all that it needs of the others is finished, and fails with what it needs. The outcomes are in the order
    of the requests. Raises UsageError for what cannot be asked for, RunError where nothing can be run, Interrupted on Ctrl-C.
    """
    configs = [load_preset(request.spec.preset, request.overrides, request.spec.pool) for request in requests]
    place = resolve_device(device, engine.cuda)
    most = workers_for(jobs, engine)
    for results in dict.fromkeys(request.results for request in requests):
        check_writable(results)
    unfinished = sum(fresh or not is_finished(request.directory) for request in requests)
    workers = min(most, unfinished) or 1
    cores = engine.cores()
    threads = max(1, min(sum(cores) // workers, *cores))  # a run is on one machine
    todo = [
        Job(
            request.spec,
            config,
            request.results,
            place,
            threads,
            fresh,
            command_of(request.spec, request.overrides, request.results, device),
            request.label,
        )
        for request, config in zip(requests, configs, strict=True)
    ]
    try:
        with _progresses(console) as (new_progress, overall):
            return _carry_out(todo, workers, new_progress, overall, engine)
    except KeyboardInterrupt:
        same = "the same command without --fresh" if fresh else "the same command"
        kept = "completed phase" if {request.spec.agent for request in requests} == {"ppi"} else "measurement"
        raise Interrupted(f"interrupted; {same} resumes after the last {kept}") from None


def workers_for(jobs: int | None, engine: Engine) -> int:
    """How many runs at a time ``--jobs`` means; None: one per core. UsageError for less than one."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs must be an integer >= 1, not {jobs}")
    return jobs or sum(engine.cores())


def _carry_out(
    jobs: Sequence[Job], workers: int, new_progress: Callable[[], Progress], overall: Overall, engine: Engine
) -> list[Outcome]:
    """The finished ones are only looked at; the rest run side by side, a single one in this process if the engine says so."""
    finished = [job for job in jobs if not job.fresh and is_finished(job.directory)]
    outcomes = {job: run_one(job, SilentProgress()) for job in finished}
    rest = _without_unmet([job for job in jobs if job not in outcomes], outcomes)
    if len(rest) == 1 and engine.alone_here:
        outcomes[rest[0]] = _run_here(rest[0], new_progress())
    elif rest:
        outcomes.update(zip(rest, run_side_by_side(rest, workers, new_progress, engine, overall), strict=True))
    return [outcomes[job] for job in jobs]


def _without_unmet(waiting: Sequence[Job], outcomes: dict[Job, Outcome]) -> list[Job]:
    """The waiting jobs but those that need a failed run; what these come to is added to ``outcomes``."""
    failed = [job.directory for job, outcome in outcomes.items() if outcome.state == "failed"]
    left = []
    for job in waiting:
        if unmet := job.unmet(failed):
            message = f"needs {unmet[0].name} seed {unmet[0].seed}, which failed"
            outcomes[job] = Outcome(job.spec.seed, job.directory, "failed", message)
        else:
            left.append(job)
    return left


def cuda_here() -> bool:
    """Whether this machine has a CUDA device."""
    return torch.cuda.is_available()


def resolve_device(name: str, cuda: Callable[[], bool] = cuda_here) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; UsageError for another name, RunError where CUDA is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; allowed: auto, cpu, cuda")
    if name == "auto":
        return "cuda" if cuda() else "cpu"
    if name == "cuda" and not cuda():
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
    progress = LabelledProgress(progress, job.label) if job.label else progress
    try:
        with job.open() as run:
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
    engine: Engine,
    overall: Overall | None = None,
) -> list[Outcome]:
    """Carry out `jobs` with `engine`, at most `workers` at a time; the outcomes in the order of the jobs.

    A job waits for those among them that it needs, and fails with them. `overall` is told how many jobs have ended. On any
    exception here the jobs are stopped first.
    """
    waiting = list(jobs)
    running: list[Job] = []
    outcomes: dict[Job, Outcome] = {}
    try:
        while waiting or running:
            while len(running) < workers and (job := _next_ready(waiting, running)):
                waiting.remove(job)
                running.append(job)
                engine.start(job, new_progress())
            if overall:
                overall.tell(_counts(waiting, running, outcomes))
            ended = engine.ended()
            outcomes.update(ended)
            running = [job for job in running if job not in ended]
            waiting = _without_unmet(waiting, outcomes)
        if overall:
            overall.tell(_counts(waiting, running, outcomes))
    finally:
        engine.stop()  # every file is replaced atomically: there is nothing to tidy up
    return [outcomes[job] for job in jobs]


def failures(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each run that failed, naming it."""
    ended = zip(requests, outcomes, strict=True)
    return [f"{request.title}: {outcome.message}" for request, outcome in ended if outcome.state == "failed"]


def _next_ready(waiting: Sequence[Job], running: Sequence[Job]) -> Job | None:
    """The first job that needs none of those which have yet to end."""
    unfinished = [job.directory for job in (*waiting, *running)]
    return next((job for job in waiting if not job.unmet(unfinished)), None)


def _counts(waiting: Sequence[Job], running: Sequence[Job], outcomes: Mapping[Job, Outcome]) -> Counts:
    failed = sum(outcome.state == "failed" for outcome in outcomes.values())
    return Counts(len(outcomes) - failed, len(running), failed, len(waiting))


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
