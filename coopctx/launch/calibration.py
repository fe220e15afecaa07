"""How long runs will take on this machine: the work that is counted in them, at the cost of a short run made on the spot."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from coopctx.agents import sample_of, work_of
from coopctx.agents.work import REST
from coopctx.errors import RunError
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.settings import Config
from coopctx.game.threads import torch_threads
from coopctx.launch.job import Job, run_one
from coopctx.runs.progress import SilentProgress
from coopctx.runs.read import read_run_table

ENOUGH = 0.8  # seconds that the parts of the sample which counts take at least; they may take `GROWTH` times as long
GROWTH, LARGEST = 4, 4**5  # of a sample's size


@dataclass
class Calibration:
    """What a unit of each part of a run costs here. Samples are run when first needed, and kept as long as the object.

    threads: that each run may use. device: "cpu" or "cuda".
    """

    threads: int
    device: str
    _known: dict[tuple[RunSpec, Config], dict[str, float]] = field(default_factory=dict)

    def seconds(self, spec: RunSpec, config: Config, done: int) -> float:
        """Seconds that are left of a run after iteration ``done``, -1 for all; on a machine as busy as now.

        Raises RunError if the sample cannot be run.
        """
        costs = self._costs(spec, config)
        return sum(units * costs[part] for part, units in self._work(spec, config, done).items())

    def _work(self, spec: RunSpec, config: Config, done: int) -> dict[str, float]:
        return work_of(spec, config, self.threads, torch.device(AGENTS[spec.agent].device(self.device)), done)

    def _costs(self, spec: RunSpec, config: Config) -> dict[str, float]:
        """Seconds per unit of each part."""
        smallest = sample_of(spec, config, 0)
        if smallest not in self._known:
            self._timed(*smallest)  # compiles, allocates and warms up
            size, sample = 1, sample_of(spec, config, 1)
            while sum((seconds := self._timed(*sample)).values()) - seconds[REST] < ENOUGH and size < LARGEST:
                size *= GROWTH
                sample = sample_of(spec, config, size)
            work = self._work(*sample, done=-1)
            self._known[smallest] = {part: seconds[part] / units for part, units in work.items()}
        return self._known[smallest]

    def _timed(self, spec: RunSpec, config: Config) -> dict[str, float]:
        table, seconds = timed_run(spec, config, self.threads, self.device)
        parts = {str(part): float(each) for part, each in table.groupby("part")["seconds"].sum().items()}
        return defaultdict(float, {**parts, REST: max(0.0, seconds - sum(parts.values()))})


class _Stopwatch(SilentProgress):
    """Times a run from its first iteration to its end, without loading."""

    started = stopped = 0.0

    def begin(self, title: str, total: int, done: int, unit: str = "phase") -> None:
        self.started = time.perf_counter()

    def end(self) -> None:
        self.stopped = time.perf_counter()


def timed_run(spec: RunSpec, config: Config, threads: int, device: str = "cpu") -> tuple[pd.DataFrame, float]:
    """Carry out a run in a temporary folder. Returns its timings table, and the seconds of all iterations.

    Raises RunError if it fails. PyTorch's number of threads is as before.
    """
    watch = _Stopwatch()
    with torch_threads(torch.get_num_threads()), tempfile.TemporaryDirectory(prefix="coopctx-timed-") as directory:
        job = Job(spec, config, Path(directory), AGENTS[spec.agent].device(device), threads, True, ())
        outcome = run_one(job, watch)
        if outcome.state == "failed":
            raise RunError(f"the timed run failed: {outcome.message}")
        return read_run_table(job.directory, "timings").to_pandas(), watch.stopped - watch.started
