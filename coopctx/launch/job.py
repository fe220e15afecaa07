"""A job is one run with all that a process needs to carry it out; engines carry out several jobs, as the options say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from rich.console import Console

from coopctx.agents import execute
from coopctx.errors import CoopctxError, RunError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.pools import RunSpec, with_needs
from coopctx.experiments.settings import Config
from coopctx.launch.display import LabelledProgress
from coopctx.runs.progress import Progress
from coopctx.runs.read import read_run_table
from coopctx.runs.run import Run
from coopctx.runs.tracking import FOLDER, TrackedProgress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Job:
    """One run and how to carry it out; it can be pickled and sent to another process."""

    spec: RunSpec
    config: Config
    results: Path
    device: str  # "cpu" or "cuda"
    threads: int
    fresh: bool
    command: tuple[str, ...]  # the words of the command that carries out this run alone
    label: str = ""  # see `Request`
    log: str = ""  # see `RunOptions`

    @property
    def directory(self) -> Path:
        return self.spec.directory(self.results)

    def open(self) -> Run:
        """Open the run's directory; raises the errors of `Run.open`."""
        keys, settings = self.spec.keys, to_dict(self.config)
        return Run.open(self.directory, keys, settings, self.device, self.fresh, threads=self.threads, command=self.command)

    def unmet(self, directories: Iterable[Path]) -> list[RunSpec]:
        """Those of the runs it needs, directly or indirectly, whose directories are among ``directories``."""
        among = set(directories)
        return [need for need in with_needs(self.spec.needs()) if need.directory(self.results) in among]


@dataclass(frozen=True)
class Outcome:
    """How a job ended. "unchanged": the run was finished before, and nothing was done."""

    seed: int
    directory: Path
    state: Literal["finished", "unchanged", "failed"]
    message: str = ""  # why it failed

    def table(self, name: str) -> pd.DataFrame:
        """A table of the run: training, episodes, diagnostics or timings. RunError if the run failed or a file is damaged."""
        if self.state == "failed":
            raise RunError(self.message)
        return read_run_table(self.directory, name).to_pandas()


class Engine(Protocol):
    """Carries out several jobs at a time."""

    alone_here: bool  # whether a single job should run in the calling process instead

    def cores(self) -> list[int]:
        """The number of CPU cores of each machine. Raises RunError if there is no machine."""

    def cuda(self) -> bool:
        """Whether there is a CUDA device."""

    def start(self, job: Job, progress: Progress) -> None:
        """Start a job. Its progress is reported to ``progress`` during calls of `ended`."""

    def ended(self) -> dict[Job, Outcome]:
        """Wait for messages and pass them on. Returns the jobs that have ended since the last call, finished or failed."""

    def stop(self) -> None:
        """Stop the running jobs at once."""


@dataclass(frozen=True)
class RunOptions:
    """How runs are carried out.

    engine: what carries out several runs at a time. preset: the name of the settings. overrides: settings that replace the
    preset's, such as ``ppi.rollouts=8``. results: the folder of all runs. device: auto, cpu or cuda. jobs: runs at a time, None
    for one per core. fresh: delete earlier runs and start over. log: where else progress is
    written (`tracking.LOGS`), nowhere if empty. console: where progress is shown.
    """

    engine: Engine
    preset: str = "cpu"
    overrides: tuple[str, ...] = ()
    results: Path = Path("results")
    device: str = "auto"
    jobs: int | None = None
    fresh: bool = False
    log: str = ""
    console: Console = field(default_factory=lambda: Console(quiet=True))


def run_one(job: Job, progress: Progress) -> Outcome:
    """Carry out one job in this process. Every error except an interruption becomes a failed Outcome."""
    import torch  # seconds

    progress = LabelledProgress(progress, job.label) if job.label else progress
    event_files = job.results / FOLDER / job.directory.relative_to(job.results)  # beside the folders of all presets
    tracked = TrackedProgress(progress, event_files) if job.log else None
    try:
        with job.open() as run:
            if run.finished:
                return Outcome(job.spec.seed, job.directory, "unchanged")
            if run.warning:
                progress.note(run.warning)
            torch.set_num_threads(job.threads)
            execute(job.spec, job.config, run, job.results, torch.device(job.device), job.threads, tracked or progress)
        return Outcome(job.spec.seed, job.directory, "finished")
    except CoopctxError as error:
        return Outcome(job.spec.seed, job.directory, "failed", str(error))
    except Exception as error:  # unexpected: one line for the user; the manifest has the traceback
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(job.spec.seed, job.directory, "failed", f"{what} (traceback in {job.directory / 'run.json'})")
    finally:
        if tracked:
            tracked.close()
