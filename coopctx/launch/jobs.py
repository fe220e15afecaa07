"""Carrying out training runs: one in this process, or several at a time with an engine.

If a run fails, the others go on, except those that need it. Ctrl-C stops all runs at once; their checkpoints remain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from coopctx.errors import Interrupted, UsageError
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import RunSpec, check_read, options_for
from coopctx.experiments.presets import load_preset
from coopctx.experiments.settings import Config
from coopctx.launch.display import Counts, PlainOverall, PlainProgress, RichOverall, RichProgress, new_display
from coopctx.launch.job import Engine, Job, Outcome, RunOptions, run_one
from coopctx.machine import resolve_device
from coopctx.runs.files import check_writable
from coopctx.runs.manifest import is_finished
from coopctx.runs.progress import Progress, SilentProgress

Tell = Callable[[Counts], object]  # shows how many of the runs have ended; is called repeatedly


@dataclass(frozen=True)
class Request:
    """A run that is to be carried out.

    overrides: settings that replace the preset's. results: the folder of this run and of those that it needs. label: set where
    several requests have the same name and seed (a sweep); names the settings that differ.
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


def train(specs: Iterable[RunSpec], options: RunOptions) -> list[Outcome]:
    """Begin or resume these runs with the settings and in the folder of ``options``; see `train_runs`."""
    return train_runs([Request(spec, options.overrides, options.results) for spec in specs], options)


def train_runs(requests: Sequence[Request], options: RunOptions) -> list[Outcome]:
    """Begin or resume runs, at most ``options.jobs`` at a time, showing progress on ``options.console``.

    A run starts when those of the others that it needs are finished, and fails if one of them fails. Returns an outcome per
    request, in their order. Raises UsageError for impossible settings, RunError if nothing can be run, Interrupted on Ctrl-C.
    """
    engine, fresh = options.engine, options.fresh
    configs = [load_preset(request.spec.preset, request.overrides, request.spec.pool) for request in requests]
    named = (override.partition("=")[0].strip() for request in requests for override in request.overrides)
    check_read(dict.fromkeys(named), [request.spec for request in requests])
    from coopctx.agents.others import check_pool  # torch, which takes seconds to import

    for request, config in zip(requests, configs, strict=True):
        if fresh or not is_finished(request.directory):
            check_pool(request.spec, config)
    place = resolve_device(options.device, engine.cuda)
    most = workers_for(options.jobs, engine)
    for results in dict.fromkeys(request.results for request in requests):
        check_writable(results)
    unfinished = sum(fresh or not is_finished(request.directory) for request in requests)
    workers, threads = shared(most, unfinished, engine.cores())
    jobs = [_job(request, config, place, threads, options) for request, config in zip(requests, configs, strict=True)]
    try:
        with _progresses(options.console) as (new_progress, tell):
            return _carry_out(jobs, workers, new_progress, tell, engine)
    except KeyboardInterrupt:
        same = "the same command without --fresh" if fresh else "the same command"
        kept = "completed phase" if {AGENTS[request.spec.agent].unit for request in requests} == {"phase"} else "measurement"
        raise Interrupted(f"interrupted; {same} resumes after the last {kept}") from None


def _job(request: Request, config: Config, place: str, threads: int, options: RunOptions) -> Job:
    """The job of a request. Its command leaves out defaults, except those that name the run."""
    command = [*request.spec.command, *(word for override in request.overrides for word in ("--set", override))]
    command += options_for(request.results)
    command += ["--device", options.device] if options.device != "auto" else []
    place = AGENTS[request.spec.agent].device(place)
    given = threads, options.fresh, tuple(command), request.label, options.log
    return Job(request.spec, config, request.results, place, *given)


def workers_for(jobs: int | None, engine: Engine) -> int:
    """The number of runs at a time for ``--jobs``; None: one per core. UsageError for less than one."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs must be an integer >= 1, not {jobs}")
    return jobs or sum(engine.cores())


def shared(most: int, unfinished: int, cores: Sequence[int]) -> tuple[int, int]:
    """How many runs are carried out at a time, ``most`` or fewer, and the threads of each; cores: of each machine."""
    workers = min(most, unfinished) or 1
    return workers, max(1, min(sum(cores) // workers, *cores))  # a run is on one machine


def _carry_out(
    jobs: Sequence[Job], workers: int, new_progress: Callable[[], Progress], tell: Tell, engine: Engine
) -> list[Outcome]:
    """Carry out the unfinished jobs: one alone in this process if the engine says so, several with the engine."""
    finished = [job for job in jobs if not job.fresh and is_finished(job.directory)]
    outcomes = {job: run_one(job, SilentProgress()) for job in finished}
    rest = _without_unmet([job for job in jobs if job not in outcomes], outcomes)
    if len(rest) == 1 and engine.alone_here:
        progress = new_progress()
        outcomes[rest[0]] = run_one(rest[0], progress)
        progress.end()
    elif rest:
        outcomes.update(zip(rest, run_side_by_side(rest, workers, new_progress, engine, tell), strict=True))
    return [outcomes[job] for job in jobs]


def _without_unmet(waiting: Sequence[Job], outcomes: dict[Job, Outcome]) -> list[Job]:
    """The waiting jobs except those that need a failed run; these are added to ``outcomes`` as failed."""
    failed = [job.directory for job, outcome in outcomes.items() if outcome.state == "failed"]
    left = []
    for job in waiting:
        if unmet := job.unmet(failed):
            message = f"needs {unmet[0].name} seed {unmet[0].seed}, which failed"
            outcomes[job] = Outcome(job.spec.seed, job.directory, "failed", message)
        else:
            left.append(job)
    return left


def run_side_by_side(
    jobs: Sequence[Job],
    workers: int,
    new_progress: Callable[[], Progress],
    engine: Engine,
    tell: Tell = lambda counts: None,
) -> list[Outcome]:
    """Carry out `jobs` with `engine`, at most `workers` at a time; the outcomes in the order of the jobs.

    A job waits for those that it needs, and fails if one of them fails. `tell` shows how many jobs have ended. On any
    exception all jobs are stopped first.
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
            tell(_counts(waiting, running, outcomes))
            ended = engine.ended()
            outcomes.update(ended)
            running = [job for job in running if job not in ended]
            waiting = _without_unmet(waiting, outcomes)
        tell(_counts(waiting, running, outcomes))
    finally:
        engine.stop()  # every file is replaced atomically: there is nothing to tidy up
    return [outcomes[job] for job in jobs]


def failures(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each run that failed, naming it."""
    ended = zip(requests, outcomes, strict=True)
    return [f"{request.title}: {outcome.message}" for request, outcome in ended if outcome.state == "failed"]


def _next_ready(waiting: Sequence[Job], running: Sequence[Job]) -> Job | None:
    """The first waiting job that needs no unfinished job."""
    unfinished = [job.directory for job in (*waiting, *running)]
    return next((job for job in waiting if not job.unmet(unfinished)), None)


def _counts(waiting: Sequence[Job], running: Sequence[Job], outcomes: Mapping[Job, Outcome]) -> Counts:
    failed = sum(outcome.state == "failed" for outcome in outcomes.values())
    return Counts(len(outcomes) - failed, len(running), failed, len(waiting))


@contextmanager
def _progresses(console: Console) -> Iterator[tuple[Callable[[], Progress], Tell]]:
    """A function that makes a run's progress, and what shows that of all: a live display on a terminal, plain lines elsewhere."""

    def print_line(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if console.is_terminal:
        with new_display(console) as display:
            yield lambda: RichProgress(display), RichOverall(display).tell
    else:
        yield lambda: PlainProgress(print_line), PlainOverall(print_line).tell
