"""The training loop of every run: restore, advance, measure, checkpoint. Each agent's `training` module subclasses it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from coopctx import native
from coopctx.agents.learner import Learner
from coopctx.agents.record import (
    Match,
    counted,
    diagnosed,
    final_weights,
    record_averages,
    record_curves,
    record_timings,
    summary,
)
from coopctx.experiments.agents import AGENTS
from coopctx.experiments.pools import RunSpec
from coopctx.experiments.settings import Config
from coopctx.game.streams import stream
from coopctx.game.threads import thread_pool
from coopctx.runs.progress import Progress
from coopctx.runs.run import Run

Result = TypeVar("Result")


class Schedule:
    """The iterations from 0 to ``last`` that are measured: every ``every``-th, those with within-episode curves, and the last.

    curves: as in the settings: negative numbers count from the end. curves_at_0: iteration 0 has curves too.
    """

    def __init__(self, last: int, every: int, curves: Iterable[int], curves_at_0: bool) -> None:
        self.last, self.every = last, every
        self.curves = frozenset(counted(curves, last) | ({0} if curves_at_0 else set()))

    def __contains__(self, iteration: int) -> bool:
        return iteration % self.every == 0 or iteration in self.curves or iteration == self.last


class Loop(ABC):
    """One run, from its last checkpoint to its end.

    Row ``iteration`` k of the tables is measured after k iterations (0: before the first). Every measurement is followed by a
    checkpoint.
    """

    _schedule: Schedule
    _learners: Sequence[Learner]

    def __init__(
        self, spec: RunSpec, config: Config, run: Run, results: Path, device: torch.device, threads: int, progress: Progress
    ) -> None:
        """results: the folder of the finished runs that ``spec`` needs. threads: the number of threads that the run may use."""
        self._spec, self._config, self._run, self._results = spec, config, run, results
        self._device, self._threads, self._progress = device, threads, progress
        self._pool, self._game = spec.pool_with(config.pool), config.game.matrix()
        self._identity_size = self._game.n_outcomes * self._game.n_actions if spec.opponent_id else 0
        self._kernel = native.kernel_for(device, config.model.hidden)
        self._seconds: dict[str, float] = {}
        self._workers: ThreadPoolExecutor | None = None
        self._set_up()

    @abstractmethod
    def _set_up(self) -> None:
        """Make the learners and the schedule from what the constructor was given."""

    def run_all(self) -> None:
        """Train to the end: record and checkpoint every measurement, then write the final weights."""
        done = self._restore()
        title, unit = f"{self._spec.name} seed {self._spec.seed}", AGENTS[self._spec.agent].unit
        self._progress.begin(title, self._schedule.last, max(done, 0), unit)
        torch.set_num_threads(1 if self._kernel else self._threads)
        with thread_pool(self._threads) as self._workers:
            for iteration in range(done + 1, self._schedule.last + 1):
                self._step(iteration)
        self._run.finish(final_weights(self._learners))
        self._progress.end()

    def _step(self, iteration: int) -> None:
        """Carry out one iteration, or what comes before the first one, and record it if it is measured."""
        if iteration:
            self._advance(iteration)
        else:
            self._begin()
        if iteration in self._schedule:
            self._record(iteration)

    def _begin(self) -> None:
        """What comes before the first iteration, such as pre-training; by default nothing."""
        return

    @abstractmethod
    def _advance(self, iteration: int) -> None:
        """Carry out this iteration, counted from 1."""

    def _measure(self, iteration: int, with_curves: bool) -> Sequence[Match]:
        """Games of the present agents for the training table; games against named strategies, for the curves only, come last."""
        raise NotImplementedError  # a run without games overrides `_measure_and_record` instead

    def _measure_and_record(self, iteration: int, with_curves: bool) -> dict[str, float]:
        """Measure, and record averages and curves. Returns the averages that the progress display shows."""
        matches = self._measure(iteration, with_curves)
        averaged = [match for match in matches if match.opponent in self._pool.opponents]
        record_averages(self._run, iteration, averaged)
        if with_curves:
            record_curves(self._run, iteration, matches)
        return summary(self._pool, averaged)

    def _record(self, iteration: int) -> None:
        with self._timed("measure"):
            averages = self._measure_and_record(iteration, iteration in self._schedule.curves)
        record_timings(self._run, iteration, self._seconds)
        self._seconds = {}
        self._run.checkpoint({"iteration": iteration, "learners": [learner.state() for learner in self._learners]})
        if iteration:
            self._progress.iteration(iteration, averages | diagnosed(self._run, iteration))

    def _restore(self) -> int:
        """Set the learners to the last checkpoint. Returns its iteration, or -1 if there is none."""
        state = self._run.state
        if state is None:
            return -1
        for learner, saved in zip(self._learners, state["learners"], strict=True):
            learner.restore(saved)
        return state["iteration"]

    def _side_by_side(self, function: Callable[..., Result], *arguments: Iterable[Any]) -> list[Result]:
        """``function`` of each of the zipped arguments, on as many threads as the run may use."""
        each = self._workers.map if self._workers is not None and self._threads > 1 else map
        return list(each(function, *arguments))

    def _stream(self, *names: str | int) -> torch.Generator:
        return stream(self._spec.seed, *names)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - start
