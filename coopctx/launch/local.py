"""The engine that runs jobs as processes on this machine, and the choice between it and a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, cast

from coopctx.errors import RunError, check_known
from coopctx.launch.display import PipeProgress
from coopctx.launch.job import Engine, Job, Outcome, run_one
from coopctx.machine import available_cores, cuda_here
from coopctx.runs.progress import Progress

ENGINES = "local", "ray"


class Processes:
    """An `Engine` that starts one process per job. The process calls `work`, which must be importable from a module."""

    alone_here = True

    def __init__(self, work: Callable[[Job, Progress], Outcome] = run_one) -> None:
        self._work = work
        self._running: dict[Connection, _Worker] = {}

    def cores(self) -> list[int]:
        return [available_cores()]

    def cuda(self) -> bool:
        return cuda_here()

    def start(self, job: Job, progress: Progress) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in an undefined state
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_in_worker, args=(self._work, job, sender), daemon=True)
        # The new process inherits that it ignores Ctrl-C, which then reaches only the parent.
        with _without_interruption(), _without_main():
            process.start()
        sender.close()
        self._running[receiver] = _Worker(job, process, progress)

    def ended(self) -> dict[Job, Outcome]:
        outcomes = {}
        for connection in cast(list[Connection], wait(list(self._running))):
            outcome = _receive(connection, self._running[connection])
            if outcome is not None:
                outcomes[self._running.pop(connection).job] = outcome
        return outcomes

    def stop(self) -> None:
        for worker in self._running.values():
            worker.process.kill()
        for connection, worker in self._running.items():
            worker.process.join()
            connection.close()
        self._running.clear()


class _Worker(NamedTuple):
    job: Job
    process: BaseProcess
    progress: Progress


def _in_worker(work: Callable[[Job, Progress], Outcome], job: Job, connection: Connection) -> None:
    def send(message: tuple[str, tuple[Any, ...]]) -> None:
        try:
            connection.send(message)
        except OSError:  # the parent has ended: stop as if killed; the checkpoint remains
            os._exit(1)

    send(("outcome", (work(job, PipeProgress(send)),)))


def _receive(connection: Connection, worker: _Worker) -> Outcome | None:
    """Pass one message of a worker on to its progress. Returns the outcome if the worker has ended, None otherwise."""
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


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that are started meanwhile do not run the caller's script again, as multiprocessing does by default.

    They need nothing that is defined there. A calling script therefore needs no ``if __name__ == "__main__":``.
    """
    names: dict[str, Any] = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: names.pop(name) for name in ("__spec__", "__file__") if name in names}
    names["__spec__"] = None
    try:
        yield
    finally:
        names.update(hidden)


def engine(name: str) -> Engine:
    """The engine "local" or "ray"; UsageError for another name, RunError if Ray is not installed."""
    check_known("engine", name, ENGINES)
    if name == "local":
        return Processes()
    try:
        from coopctx.launch.on_ray import RayTasks
    except ImportError as error:
        raise RunError("--engine ray needs Ray, which is not installed here: in a clone: pip install '.[ray]'") from error
    return RayTasks()
