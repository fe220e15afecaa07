"""Measuring this machine: planner, training, a whole phase of PPI, an iteration of A2C, and the estimators of Q.

Contestants take turns (A B C A B C …), so that other load on the machine affects all of them alike; medians count. The engine in
use is compared with the reference (the same code without the native kernel, fp32), and with a jitted JAX port
(`coopctx.bench.jax_port`) if JAX is installed. Only the CPU is measured.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import torch

from coopctx._version import __version__
from coopctx.bench.estimators import measure_estimators
from coopctx.bench.parts import measure_iteration, measure_phase
from coopctx.bench.planning import measure_planner, measure_training
from coopctx.bench.rows import Machine, Report, Sizes
from coopctx.errors import UsageError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.presets import load_preset
from coopctx.machine import available_cores

MOST_REPEATS = 1000


def measure(
    preset: str,
    overrides: Sequence[str] = (),
    threads: int | None = None,
    repeats: int = 5,
    sizes: Sizes | None = None,
    on_part: Callable[[str], None] = lambda part: None,
) -> Report:
    """Measure everything with these settings; threads None: one per core. on_part is called with the name of each part.

    Raises UsageError for impossible settings, threads or repeats. PyTorch's number of threads is restored at the end.
    """
    config, sizes = load_preset(preset, overrides, "mixed"), sizes or Sizes()
    cores = available_cores()
    threads = cores if threads is None else threads
    if not 1 <= threads <= cores:
        raise UsageError(f"--threads must be an integer from 1 to the {cores} cores there are, not {threads}")
    if not 1 <= repeats <= MOST_REPEATS:
        raise UsageError(f"--repeats must be an integer from 1 to {MOST_REPEATS}, not {repeats}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        port = jax_port()
        jax = port.start(threads) if port else None
        on_part("planner")
        planner, products = measure_planner(config, threads, repeats, sizes, port)
        on_part("training")
        training = measure_training(config, threads, repeats, sizes, port)
        on_part("a whole phase")
        phase = measure_phase(config, threads, repeats, sizes)
        on_part("an iteration of A2C")
        iteration = measure_iteration(config, threads, repeats, sizes)
        on_part("estimators")
        estimator = measure_estimators(config, threads, repeats, sizes)
    finally:
        torch.set_num_threads(before)
    machine = Machine(
        cpu_name(),
        cores,
        threads,
        load,
        granted=min(rate.cores for rate in products.values()) / threads,
        python=platform.python_version(),
        torch=torch.__version__,
        jax=jax,
        matmul_fp32=products["fp32"].per_second / 1e9,
        matmul_bf16=products["bf16"].per_second / 1e9,
    )
    settings = to_dict(config)
    parts = planner, training, phase, iteration, estimator
    return Report(__version__, preset, repeats, settings, sizes, machine, *parts)


def jax_port() -> ModuleType | None:
    """`coopctx.bench.jax_port`, or None if JAX cannot be imported."""
    try:
        from coopctx.bench import jax_port as bench_jax
    except (ImportError, RuntimeError):  # RuntimeError: jax and jaxlib of incompatible versions
        return None
    return bench_jax


def cpu_name() -> str:
    """The processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
