"""Measuring this machine: planner, training, a whole phase of PPI, an iteration of A2C, their growth, and the estimators of Q.

Contestants take turns (A B C A B C …), so that other load on the machine affects all of them alike; medians count. The engine in
use is compared with the reference (the same code without the native kernel, fp32), and with a jitted JAX port
(`coopctx.bench.jax_port`, `coopctx.bench.jax_a2c`) if JAX is installed. Only the CPU is measured: planner, training and A2C on
one thread and on all of them, the rest on all.
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
from coopctx.bench.growth import measure_growth
from coopctx.bench.parts import measure_iteration, measure_phase
from coopctx.bench.planning import measure_planner, measure_training
from coopctx.bench.rows import Machine, Products, Rate, Report, Sizes, counted
from coopctx.errors import UsageError
from coopctx.experiments.configuration import to_dict
from coopctx.experiments.presets import load_preset
from coopctx.game.threads import torch_threads
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
    with torch_threads(torch.get_num_threads()):
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        ports = jax_ports()
        jax = ports[0].start(threads) if ports else None
        port, port_of_a2c = ports or (None, None)
        planner, training, iteration = [], [], []
        products: dict[int, dict[str, Rate]] = {}
        counts = sorted({1, threads})
        for each in counts:
            torch.set_num_threads(each)
            on_part(f"planner, {counted(each, 'thread')}")
            planned, products[each] = measure_planner(config, each, repeats, sizes, port)
            planner += planned
            on_part(f"training, {counted(each, 'thread')}")
            training += measure_training(config, each, repeats, sizes, port, products[each])
            on_part(f"an iteration of A2C, {counted(each, 'thread')}")
            iteration += measure_iteration(config, each, repeats, sizes, port_of_a2c)
        on_part("a whole phase")
        phase = measure_phase(config, threads, repeats, sizes)
        on_part("growth with the settings")
        growth = measure_growth(config, counts, repeats, sizes, products)
        on_part("estimators")
        estimator = measure_estimators(config, threads, repeats, sizes)
    machine = Machine(
        cpu_name(),
        cores,
        threads,
        load,
        granted=min(rate.cores / rate.threads for each in products.values() for rate in each.values()),
        python=platform.python_version(),
        torch=torch.__version__,
        jax=jax,
        products=[Products(n, *(rates[dtype].per_second / 1e9 for dtype in ("fp32", "bf16"))) for n, rates in products.items()],
    )
    settings = to_dict(config)
    parts = planner, training, phase, iteration, growth, estimator
    return Report(__version__, preset, repeats, settings, sizes, machine, *parts)


def jax_ports() -> tuple[ModuleType, ModuleType] | None:
    """`coopctx.bench.jax_port` and `coopctx.bench.jax_a2c`, or None if JAX cannot be imported."""
    try:
        from coopctx.bench import jax_a2c, jax_port
    except (ImportError, RuntimeError):  # RuntimeError: jax and jaxlib of incompatible versions
        return None
    return jax_port, jax_a2c


def cpu_name() -> str:
    """The processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
