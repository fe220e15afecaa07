"""Timing contestants in turns (A B C A B C …), so that other load on the machine affects all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from coopctx import native
from coopctx.bench.rows import Rate
from coopctx.game.threads import torch_threads

CPU = torch.device("cpu")
Result = TypeVar("Result")

IN_USE, REFERENCE, PEER = "in use", "reference", "JAX"


@dataclass(frozen=True)
class Engine:
    """A way to compute: its name in the report, what it runs on, and its kernel (None: PyTorch)."""

    name: str
    runs_on: str
    dtype: str
    kernel: native.Kernel | None


@dataclass(frozen=True)
class Contestant:
    """Work to be timed: one call does ``amount`` units."""

    name: str
    runs_on: str
    dtype: str
    call: Callable[[], None]
    amount: float
    threads: int = 1


def race(contestants: Sequence[Contestant], repeats: int, seconds: float) -> list[Rate]:
    """Medians of ``repeats`` timings, taken in turns after a warm-up; a timing lasts at least about ``seconds``.

    Ratios are to the contestant named `REFERENCE`; without it they are 1.
    """
    calls = [_calls_lasting(contestant, seconds) for contestant in contestants]
    times: list[list[tuple[float, float]]] = [[] for _ in contestants]
    for _ in range(repeats):
        for contestant, n, taken in zip(contestants, calls, times, strict=True):
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(n):
                contestant.call()
            taken.append(((time.perf_counter() - wall) / n, (time.process_time() - processor) / n))
    medians = [statistics.median(wall for wall, _ in taken) for taken in times]
    cores = [statistics.median(processor / wall for wall, processor in taken) for taken in times]
    rates = [contestant.amount / median for contestant, median in zip(contestants, medians, strict=True)]
    reference = next((rate for x, rate in zip(contestants, rates, strict=True) if x.name == REFERENCE), None)
    return [
        Rate(x.name, x.runs_on, x.dtype, x.threads, rate, median, used, rate / reference if reference else 1.0)
        for x, rate, median, used in zip(contestants, rates, medians, cores, strict=True)
    ]


def in_turns(calls: Sequence[Callable[[], tuple[float, float]]], repeats: int) -> list[tuple[float, float]]:
    """The medians of both numbers that each call measures, over ``repeats`` measurements taken in turns."""
    taken = [[call() for call in calls] for _ in range(repeats)]
    pairs = (zip(*each, strict=True) for each in zip(*taken, strict=True))
    return [(statistics.median(first), statistics.median(second)) for first, second in pairs]


def _calls_lasting(contestant: Contestant, seconds: float) -> int:
    contestant.call()  # compilation and first allocations are not measured
    start = time.perf_counter()
    contestant.call()
    return max(1, math.ceil(seconds / (time.perf_counter() - start)))


def engines(hidden: int) -> list[Engine]:
    """The engine in use for this hidden size, the native kernel in fp32 if that is another one, and the reference."""
    kernel, exact = native.kernel_for(CPU, hidden), native.load("fp32")
    used = Engine(IN_USE, "native", kernel.precision, kernel) if kernel else pytorch(IN_USE)
    same = kernel is None or exact is None or kernel.precision == exact.precision
    return [used, *([] if same else [Engine("native fp32", "native", "fp32", exact)]), pytorch(REFERENCE)]


def pytorch(name: str) -> Engine:
    return Engine(name, "PyTorch", "fp32", None)


@contextmanager
def using(engine: Engine, threads: int) -> Iterator[None]:
    """Model and planner compute on this engine, with as many PyTorch threads as in a run, until the context ends."""
    before = native.kernel_for
    native.kernel_for = lambda device, hidden: engine.kernel
    try:
        with torch_threads(1 if engine.kernel else threads):
            yield
    finally:
        native.kernel_for = before


def within(engine: Engine, threads: int, call: Callable[[], Result]) -> Callable[[], Result]:
    """``call``, `using` this engine."""

    def timed() -> Result:
        with using(engine, threads):
            return call()

    return timed


def on_engine(engine: Engine, threads: int, call: Callable[[], Any], amount: float) -> Contestant:
    return Contestant(engine.name, engine.runs_on, engine.dtype, within(engine, threads, call), amount, threads)
