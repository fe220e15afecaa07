"""Progress displays: a live bar, plain lines, or messages to a parent process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Display
from rich.table import Column

from coopctx.runs.progress import Progress

MOST_TOLD = 3  # opponents of a run in its line
SHORTEST_INTERVAL = 0.2  # seconds between two activity messages of a worker process


class Counts(NamedTuple):
    """The numbers of runs that are finished, running, failed and not yet started."""

    done: int
    running: int
    failed: int
    waiting: int

    def __str__(self) -> str:
        return f"{self.done} of {sum(self)} runs done, {self.running} running, {self.failed} failed"


class PlainProgress(Progress):
    """One plain line per iteration, for pipes and logs."""

    def __init__(self, print_line: Callable[[str], object]) -> None:
        self._print = print_line
        self._clock = Clock()

    def begin(self, title: str, total: int, done: int, unit: str = "phase") -> None:
        self._title, self._total, self._unit = title, total, unit
        self._clock.start(done)
        self._print(resuming(title, total, done, unit) if done else f"{title}: starting, {total} {unit}s")

    def activity(self, iteration: int, what: str, fraction: float) -> None:
        self._clock.advance(_completed(iteration, fraction))

    def iteration(self, iteration: int, summary: dict[str, float]) -> None:
        self._clock.advance(iteration)
        parts = [
            f"{self._unit} {iteration}/{self._total}",
            *describe(summary),
            self._clock.left(self._total),
        ]
        self._print(f"{self._title}: " + "; ".join(part for part in parts if part))

    def note(self, line: str) -> None:
        self._print(line)


class RichProgress:
    """The lines of one run in a live `display` (made by `new_display`), which shows several runs at once.

    They show phase, time left, cooperation and reward by kind of opponent. At the end, one line remains.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._clock = Clock()
        self._task: TaskID | None = None
        self._summary: dict[str, float] = {}

    def begin(self, title: str, total: int, done: int, unit: str = "phase") -> None:
        self._title, self._total, self._done, self._unit = title, total, done, unit
        self._clock.start(done)
        if done:
            self.note(resuming(title, total, done, unit))
        self._task = self._display.add_task(
            title, total=total, completed=done, phase=f"{done}/{total}", now="", summary="", left=""
        )

    def activity(self, iteration: int, what: str, fraction: float) -> None:
        completed = _completed(iteration, fraction)
        self._clock.advance(completed)
        now = f"{what} {fraction:.0%}" if iteration == 0 else what
        self._update(completed=completed, phase=f"{iteration}/{self._total}", now=now)

    def iteration(self, iteration: int, summary: dict[str, float]) -> None:
        self._done, self._summary = iteration, summary
        self._clock.advance(iteration)
        self._update(completed=iteration, phase=f"{iteration}/{self._total}", now="", summary="\n".join(describe(summary)))

    def note(self, line: str) -> None:
        self._display.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def end(self) -> None:
        if self._task is not None:
            self._display.remove_task(self._task)
            self._task = None
            self.note("; ".join((f"{self._title}: {self._unit} {self._done}/{self._total}", *describe(self._summary))))

    def _update(self, **fields: Any) -> None:
        if self._task is not None:
            self._display.update(self._task, left=self._clock.left(self._total), **fields)


class PlainOverall:
    """One plain line each time a run ends, for pipes and logs."""

    def __init__(self, print_line: Callable[[str], object]) -> None:
        self._print = print_line
        self._told = (0, 0)

    def tell(self, counts: Counts) -> None:
        ended = counts.done, counts.failed
        if ended != self._told:
            self._told = ended
            self._print(str(counts))


class RichOverall:
    """The line for all runs in a live `display`: how many are finished, running and failed, and the time left."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._clock = Clock()
        self._task: TaskID | None = None

    def tell(self, counts: Counts) -> None:
        total, ended = sum(counts), counts.done + counts.failed
        if self._task is None:
            self._task = self._display.add_task(f"all {total} runs", total=total, now="", phase="", summary="", left="")
        if ended:  # the pace is measured from the start, not from the end of the first run
            self._clock.advance(ended)
        now = f"{counts.running} running, {counts.failed} failed"
        left = self._clock.left(total)
        self._display.update(self._task, completed=ended, phase=f"{counts.done}/{total}", now=now, left=left)


class PipeProgress:
    """Sends each call as (method, arguments) to the process that shows it. Several threads may use it."""

    def __init__(self, send: Callable[[tuple[str, tuple[Any, ...]]], object]) -> None:
        self._send_unlocked = send
        self._lock = threading.Lock()
        self._last_activity = -SHORTEST_INTERVAL
        methods = "begin", "iteration", "note", "end"
        self.begin, self.iteration, self.note, self.end = (partial(self._send, method) for method in methods)

    def activity(self, iteration: int, what: str, fraction: float) -> None:
        now = time.monotonic()
        if now - self._last_activity >= SHORTEST_INTERVAL:
            self._last_activity = now
            self._send("activity", iteration, what, fraction)

    def _send(self, method: str, *arguments: Any) -> None:
        with self._lock:
            self._send_unlocked((method, arguments))


class LabelledProgress:
    """A progress that adds a label to the title of another one."""

    def __init__(self, inner: Progress, label: str) -> None:
        self._label = label
        self.activity, self.iteration, self.note, self.end = inner.activity, inner.iteration, inner.note, inner.end
        self._begin = inner.begin

    def begin(self, title: str, total: int, done: int, unit: str = "phase") -> None:
        self._begin(f"{title}, {self._label}", total, done, unit)


class Clock:
    """Estimates the time left from the pace since the first phase began (pre-training is not counted)."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.start(0)

    def start(self, done: int) -> None:
        self._first = self._completed = float(done)
        self._since = self._now()

    def advance(self, completed: float) -> None:
        if completed <= self._first:
            self._since = self._now()
        self._completed = completed

    def left(self, total: int) -> str:
        """A text such as ``"3:20 left"``; empty if nothing is completed yet or nothing is left."""
        passed = self._completed - self._first
        if passed <= 0 or self._completed >= total:
            return ""
        return f"{duration((self._now() - self._since) / passed * (total - self._completed))} left"


def new_display(console: Console) -> Display:
    """A Rich display with two lines per run. It fits into 80 columns."""
    fields = (
        "{task.description}\n  {task.fields[now]}",
        "{task.fields[phase]}\n{task.fields[left]}",
        "{task.fields[summary]}",
    )
    title, phase, summary = (TextColumn(field, markup=False, table_column=Column()) for field in fields)
    return Display(title, BarColumn(bar_width=10), phase, summary, console=console, refresh_per_second=4)


def describe(summary: dict[str, float]) -> list[str]:
    """``["cooperation 0.81 vs learner, 0.07 vs tabular", "reward 0.88, 0.99"]``, for the first opponents in the pool."""
    opponents = [name.removeprefix("cooperation_") for name in summary if name.startswith("cooperation_")][:MOST_TOLD]
    cooperation = [f"{summary[f'cooperation_{name}']:.2f} vs {name}" for name in opponents]
    reward = [f"{summary[f'reward_{name}']:.2f}" for name in opponents if f"reward_{name}" in summary]
    return [f"{measure} {', '.join(texts)}" for measure, texts in (("cooperation", cooperation), ("reward", reward)) if texts]


def resuming(title: str, total: int, done: int, unit: str = "phase") -> str:
    return f"{title}: resuming, {done} of {total} {unit}s are done"


def duration(seconds: float) -> str:
    """``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _completed(iteration: int, fraction: float) -> float:
    return max(iteration - 1 + fraction, 0.0)
