"""The speed of planner and fit, compared with the reference, a JAX port and this machine's matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from coopctx import native
from coopctx.agents.ppi.planner import Planner
from coopctx.bench.race import CPU, PEER, Contestant, Engine, engines, on_engine, race
from coopctx.bench.rows import Rate, Sizes
from coopctx.bench.work import learner_with, tabular_episodes, untrained_model
from coopctx.experiments.settings import Config
from coopctx.game.streams import stream
from coopctx.game.threads import thread_pool
from coopctx.native import Gates

FORWARD_PASSES, BACKWARD_PASSES = 1, 2  # matrix products per weight matrix and round; backward: for inputs and for weights
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def _product(size: int, name: str, dtype: torch.dtype, threads: int) -> Contestant:
    left, right = (torch.randn(size, size, generator=stream(0, "matrix", side)).to(dtype) for side in (1, 2))
    out = torch.empty_like(left)

    def multiply() -> None:
        torch.mm(left, right, out=out)

    return Contestant(name, "PyTorch", name, multiply, 2 * size**3, threads)


@torch.no_grad()
def measure_planner(
    config: Config, threads: int, repeats: int, sizes: Sizes, port: ModuleType | None
) -> tuple[list[Rate], dict[str, Rate]]:
    """Simulated rounds per second (games x actions x rollouts x horizon per decision), random numbers included.

    With an untrained model few rollouts coincide, so the native kernel gains least. Also returns PyTorch's matrix products in
    floating-point operations per second, by dtype, measured in turns with the planner.
    """
    model, planner = untrained_model(config), Planner.of(config.ppi)
    gates = model.gates().contiguous()
    hidden = torch.rand(sizes.games, model.hidden, generator=stream(0, "hidden")) * 2 - 1
    generator = stream(0, "rollouts")
    amount = sizes.games * model.n_actions * planner.rollouts * planner.horizon
    narrow = Gates(*(tensor.bfloat16() for tensor in gates)), hidden.bfloat16()

    def decide(gates: Gates, hidden: Tensor) -> Callable[[], Any]:
        return lambda: planner.action_values(gates, model.n_actions, hidden, None, generator, threads)

    contestants = [on_engine(engine, threads, decide(gates, hidden), amount) for engine in engines(model.hidden)]
    contestants.append(on_engine(Engine("eager bf16", "PyTorch", "bf16", None), threads, decide(*narrow), amount))
    if port:
        parts = [port.action_values(planner, gates, model.n_actions, part) for part in hidden.chunk(threads)]
        contestants.append(_peer(parts, threads, amount))
    products = [_product(sizes.matrix, name, dtype, threads) for name, dtype in _DTYPES.items()]
    rates = race([*contestants, *products], repeats, sizes.seconds)
    planned, multiplied = rates[: len(contestants)], {rate.name: rate for rate in rates[len(contestants) :]}
    everything = _flops(gates, amount, amount - amount // planner.horizon)  # the last round needs no new state
    shared = _shared_rollout_flops(gates, model.n_actions, planner, hidden)

    def share(rate: Rate) -> float:
        flops = shared if rate.runs_on == "native" else everything
        return flops / rate.seconds / multiplied[rate.dtype].per_second

    return [replace(rate, matmul_share=share(rate)) for rate in planned], multiplied


def _shared_rollout_flops(gates: Gates, n_actions: int, planner: Planner, hidden: Tensor) -> int:
    """Those operations if coinciding rollouts share their steps, as in the native kernel; 0 without it."""
    kernel = native.kernel_for(CPU, hidden.shape[1])
    if kernel is None:
        return 0
    uniforms = planner.uniforms(len(hidden), n_actions, stream(0, "shared"))
    _, steps = kernel.rollouts(gates, None, hidden, uniforms, n_actions, len(gates.table) // (n_actions + 1), 1.0, True)
    return _flops(gates, len(hidden) + steps, steps)


def _flops(gates: Gates, heads: int, steps: int) -> int:
    """Floating-point operations of the matrix products of so many heads and steps."""
    return 2 * gates.head_weight.numel() * heads + 2 * gates.weight_hh.numel() * steps


def step_flops(gates: Gates) -> int:
    """Floating-point operations of the matrix products of a round: one step of the GRU and the head."""
    return _flops(gates, 1, 1)


def _peer(calls: Sequence[Callable[[], None]], threads: int, amount: float) -> Contestant:
    """The calls at the same time, each on one thread."""
    return Contestant(PEER, "JAX", "fp32", _side_by_side(calls, threads), amount, threads)


def _side_by_side(calls: Sequence[Callable[[], Any]], threads: int) -> Callable[[], None]:
    def together() -> None:
        with thread_pool(threads) as pool:
            for done in [pool.submit(call) for call in calls]:
                done.result()

    return together if len(calls) > 1 else calls[0]


def measure_training(
    config: Config, threads: int, repeats: int, sizes: Sizes, port: ModuleType | None, products: Mapping[str, Rate]
) -> list[Rate]:
    """Tokens per second of fitting: forward, backward, clipping and AdamW.

    With several threads two learners are fitted, as in a run: at the same time if a fit uses one thread, otherwise one after
    the other on all threads.
    """
    ppi = replace(config.ppi, initial_epochs=1.0)  # one pass over as many batches as there are steps to be timed
    data = tabular_episodes(config, sizes.fit_steps * ppi.batch_size)
    learners = min(threads, 2)
    amount = learners * len(data) * data.rounds

    def fit(engine: Engine) -> Callable[[], None]:
        several = [learner_with(replace(config, ppi=ppi), data, number) for number in range(learners)]
        calls = [lambda learner=learner: learner.fit(0) for learner in several]
        return _side_by_side(calls, threads if engine.kernel else 1)

    contestants = [on_engine(engine, threads, fit(engine), amount) for engine in engines(config.model.hidden)]
    if port:
        calls = [port.trainer(untrained_model(config), ppi, data) for _ in range(learners)]
        contestants.append(_peer(calls, threads, amount))
    flops = (FORWARD_PASSES + BACKWARD_PASSES) * step_flops(untrained_model(config).gates())
    rates = race(contestants, repeats, sizes.seconds)
    return [replace(rate, matmul_share=rate.per_second * flops / products[rate.dtype].per_second) for rate in rates]
