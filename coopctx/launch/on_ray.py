"""The engine that runs jobs as tasks of a Ray cluster. This module needs Ray: ``pip install '.[ray]'`` in a clone.

The cluster is the one at the address in RAY_ADDRESS; otherwise one that runs on this machine; otherwise this process starts
one (``ray.init``). The workers must have coopctx installed and see the results folder under the same path as this process. If a
worker dies, Ray retries its run, which resumes from its last checkpoint.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
from dataclasses import replace
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError
from ray.util.queue import Queue

from coopctx.errors import CoopctxError, RunError
from coopctx.launch.display import PipeProgress
from coopctx.launch.job import Job, Outcome, run_one
from coopctx.runs.manifest import is_finished
from coopctx.runs.progress import Progress

RETRIES = 3  # of a run whose worker died
INTERVAL = 0.2  # seconds between two checks for messages of the workers
PATIENCE = 10  # seconds to wait for a cluster's answer


class RayTasks:
    """An `Engine` that starts one Ray task per job, with one CPU per thread, and a GPU if the job uses CUDA."""

    alone_here = False

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._running: dict[ray.ObjectRef, int] = {}
        self._tasks: dict[int, _Task] = {}
        self._refused: dict[Job, Outcome] = {}
        self._messages: Queue | None = None  # pairs of a task's number and a `PipeProgress` message

    def cores(self) -> list[int]:
        _connect()
        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        if not any(cores):
            raise RunError("the Ray cluster has no CPU to run anything on")
        return [number for number in cores if number]

    def cuda(self) -> bool:
        _connect()
        return ray.cluster_resources().get("GPU", 0) >= 1

    def start(self, job: Job, progress: Progress) -> None:
        try:
            if job.fresh:  # delete the earlier run here: a retried task would delete its own checkpoint
                with job.open():
                    pass
        except CoopctxError as error:
            self._refused[job] = Outcome(job.spec.seed, job.directory, "failed", str(error))
            return
        if self._messages is None:  # not `not self._messages`: an empty queue is false
            self._messages = Queue(actor_options={"num_cpus": 0})
        number = next(self._numbers)
        task = ray.remote(num_cpus=job.threads, num_gpus=int(job.device == "cuda"), max_retries=RETRIES)(_in_task)
        there = replace(job, results=job.results.absolute(), fresh=False)
        self._running[task.remote(there, number, self._messages)] = number
        self._tasks[number] = _Task(job, progress)

    def ended(self) -> dict[Job, Outcome]:
        outcomes, self._refused = self._refused, {}
        if not self._running:
            return outcomes
        done, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0 if outcomes else INTERVAL)
        self._pass_on()  # after the wait: all messages of the ended tasks have arrived
        for reference in done:
            job, progress = self._tasks.pop(self._running.pop(reference))
            progress.end()
            outcomes[job] = _outcome(reference, job)
        return outcomes

    def stop(self) -> None:
        for reference in self._running:
            ray.cancel(reference, force=True)
        self._running.clear()
        self._tasks.clear()
        self._messages = None

    def _pass_on(self) -> None:
        assert self._messages is not None
        for number, (method, arguments) in self._messages.get_nowait_batch(self._messages.qsize()):
            if number in self._tasks:
                progress = self._tasks[number].progress
                if method == "begin":  # a second begin: the worker died and the task was retried
                    progress.end()
                getattr(progress, method)(*arguments)


class _Task(NamedTuple):
    job: Job
    progress: Progress


def _connect() -> None:
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        if port.isdigit():  # Ray itself would try for many minutes
            socket.create_connection((host, int(port)), PATIENCE).close()
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except OSError as error:
        raise RunError(f"no Ray cluster answers at RAY_ADDRESS={address}: {error}") from error
    except (RuntimeError, ValueError) as error:
        raise RunError(f"cannot start or reach a Ray cluster: {error}") from error


def _in_task(job: Job, number: int, messages: Queue) -> Outcome:
    def send(message: tuple[str, tuple[Any, ...]]) -> None:
        messages.put((number, message))

    return run_one(job, PipeProgress(send))


def _outcome(reference: ray.ObjectRef, job: Job) -> Outcome:
    try:
        outcome = replace(ray.get(reference), directory=job.directory)
    except RayError as error:
        message = f"its Ray task failed, {RETRIES} retries included: {str(error).strip().splitlines()[-1]}"
        return Outcome(job.spec.seed, job.directory, "failed", message)
    if outcome.state != "failed" and not is_finished(job.directory):
        unseen = f"finished, but {job.directory} is not visible here: the cluster's workers must share this folder"
        return Outcome(job.spec.seed, job.directory, "failed", unseen)
    return outcome
