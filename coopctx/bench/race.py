"""How fast is it here: planner, training, a whole phase of PPI and an iteration of A2C, beside the kept PyTorch reference.

Contestants take turns (A B C A B C …), so that whatever else the machine does meets all of them; medians count. What
is in use on this machine is compared with the reference (the same code with the native kernel switched off, fp32), and
with a jitted JAX port (`coopctx.bench.jax_port`) where JAX is installed. Only the CPU is measured.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from coopctx import native
from coopctx._version import __version__
from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.planner import ESTIMATORS, Planner
from coopctx.agents.trunk import SequenceModel, step
from coopctx.errors import RunError, UsageError
from coopctx.experiments.pools import POOLS, RunSpec
from coopctx.experiments.settings import Config, MeasureConfig, load_preset, to_dict
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame
from coopctx.game.player import Player
from coopctx.game.streams import stream
from coopctx.game.tabular import RandomTabular
from coopctx.launch.job import Job, run_one
from coopctx.machine import available_cores
from coopctx.native import Gates
from coopctx.runs.progress import SilentProgress
from coopctx.runs.read import read_run_table

CPU = torch.device("cpu")
MOST_REPEATS = 1000
ENOUGH = 0.9  # share of the processor time asked for; with less, the machine does something else too
IN_USE, REFERENCE, PEER = "in use", "reference", "JAX"


@dataclass(frozen=True)
class Sizes:
    """How much is done per measurement. Smaller than real work only where cost is known to be proportional."""

    games: int = 512  # games that the planner decides in at once
    fit_steps: int = 16  # gradient steps per learner
    collect_rounds: int = 2  # rounds played of a phase's episodes; those of an untrained model cost about the same
    collect_episodes: int = 1024  # episodes per agent in those rounds, at most
    iterations: int = 3  # of A2C
    iteration_episodes: int = 1024  # episodes per learner in these, at most
    estimator_steps: int = 160  # gradient steps before the estimators are compared
    estimator_batch: int = 64  # episodes per such step
    visiting_games: int = 64  # games against tabular players from which states are taken
    states: int = 512  # visited states at which they are compared
    draws: int = 32  # estimates per state
    matrix: int = 768  # rows and columns of the matrix product: two operands fit a core's cache
    seconds: float = 0.1  # shortest measurement: quicker work is repeated


@dataclass(frozen=True)
class Engine:
    """A way to compute: its name here, what it runs on, and its kernel (None: PyTorch)."""

    name: str
    runs_on: str
    dtype: str
    kernel: native.Kernel | None


@dataclass(frozen=True)
class Contestant:
    """Work to be timed: one call does ``amount`` units of it."""

    name: str
    runs_on: str
    dtype: str
    call: Callable[[], None]
    amount: float


@dataclass(frozen=True)
class Rate:
    """A measured throughput.

    per_second: units of the table; seconds: median of one call; cores: processor time over wall time (less than the
    threads: they waited, or the machine was busy); ratio: to the reference; matmul_share: of the machine's rate for
    matrix products in this dtype, planner only.
    """

    name: str
    runs_on: str
    dtype: str
    per_second: float
    seconds: float
    cores: float
    ratio: float
    matmul_share: float | None = None


@dataclass(frozen=True)
class PhaseRate:
    """Fitting and collecting of a mixed run's first phase, scaled up to the whole of it.

    per_second: new episodes, counted once for each learner that they are data for; ratio: to the reference.
    """

    name: str
    runs_on: str
    dtype: str
    fit_seconds: float
    collect_seconds: float
    per_second: float
    ratio: float


@dataclass(frozen=True)
class IterationRate:
    """An iteration of A2C's mixed run, both learners; ratio: to the reference, which plays without a gradient and then
    computes all outputs again with torch.nn.GRU under autograd."""

    name: str
    runs_on: str
    dtype: str
    play_seconds: float
    update_seconds: float
    per_second: float
    ratio: float


@dataclass(frozen=True)
class Estimate:
    """An estimator of Q with the settings' rollouts.

    variance: of Q(x, a) - Q(x, 0) given x, mean over states x visited in play and a > 0, payoff units squared;
    seconds: per decision in `Sizes.games` games; ratio: variance x seconds of plain sampling over this one's, None
    where this one has no variance (a horizon of one round).
    """

    name: str
    variance: float
    seconds: float
    ratio: float | None


@dataclass(frozen=True)
class Machine:
    """Where it was measured. Matrix products in GFLOP/s, by torch.mm on as many threads as everything else."""

    cpu: str
    cores: int
    threads: int
    load: float | None  # runnable processes when it began, mean over a minute
    granted: float  # share of the threads' time that matrix products got, 1 on a machine that is otherwise idle
    python: str
    torch: str
    jax: str | None
    matmul_fp32: float
    matmul_bf16: float


@dataclass(frozen=True)
class Report:
    """Everything that one call of `measure` found."""

    coopctx: str
    preset: str
    repeats: int
    settings: dict[str, Any]
    sizes: Sizes
    machine: Machine
    planner: list[Rate]  # simulated rounds per second
    training: list[Rate]  # tokens (rounds of an episode) per second
    phase: list[PhaseRate]  # episodes per second
    iteration: list[IterationRate]  # gradient steps of both learners per second
    estimator: list[Estimate]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False)


def measure(
    preset: str,
    overrides: Sequence[str] = (),
    threads: int | None = None,
    repeats: int = 5,
    sizes: Sizes | None = None,
    on_part: Callable[[str], None] = lambda part: None,
) -> Report:
    """Measure everything for these settings; threads None: as many as there are cores.

    Raises UsageError for settings, threads or repeats that cannot be. PyTorch's thread count is as before afterwards.
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
    """`coopctx.bench.jax_port`, or None where JAX cannot be imported."""
    try:
        from coopctx.bench import jax_port as bench_jax
    except (ImportError, RuntimeError):  # the latter: jax and jaxlib of versions that do not go together
        return None
    return bench_jax


# Timing ----------------------------------------------------------------------------------------------------------


def race(contestants: Sequence[Contestant], repeats: int, seconds: float) -> list[Rate]:
    """Time the contestants in turns, once all are warm; a measurement lasts at least about ``seconds``.

    Ratios are to the one named `REFERENCE`; without it they are 1.
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
        Rate(x.name, x.runs_on, x.dtype, rate, median, used, rate / reference if reference else 1.0)
        for x, rate, median, used in zip(contestants, rates, medians, cores, strict=True)
    ]


def _calls_lasting(contestant: Contestant, seconds: float) -> int:
    contestant.call()  # compilation and first allocations are not what is measured
    start = time.perf_counter()
    contestant.call()
    return max(1, math.ceil(seconds / (time.perf_counter() - start)))


# Engines ---------------------------------------------------------------------------------------------------------


def engines(hidden: int) -> list[Engine]:
    """What is in use for this hidden size, the native kernel in fp32 where that is another, and the reference."""
    kernel, exact = native.kernel_for(CPU, hidden), native.load("fp32")
    used = Engine(IN_USE, "native", kernel.precision, kernel) if kernel else _pytorch(IN_USE)
    same = kernel is None or exact is None or kernel.precision == exact.precision
    return [used, *([] if same else [Engine("native fp32", "native", "fp32", exact)]), _pytorch(REFERENCE)]


def _pytorch(name: str) -> Engine:
    return Engine(name, "PyTorch", "fp32", None)


@contextmanager
def using(engine: Engine, threads: int) -> Iterator[None]:
    """Within, model and planner compute on this engine, with as many PyTorch threads as a run would have."""
    before = native.kernel_for, torch.get_num_threads()
    native.kernel_for = lambda device, hidden: engine.kernel
    torch.set_num_threads(1 if engine.kernel else threads)
    try:
        yield
    finally:
        native.kernel_for = before[0]
        torch.set_num_threads(before[1])


def _on(engine: Engine, threads: int, call: Callable[[], Any], amount: float) -> Contestant:
    def timed() -> None:
        with using(engine, threads):
            call()

    return Contestant(engine.name, engine.runs_on, engine.dtype, timed, amount)


# Machine ---------------------------------------------------------------------------------------------------------


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def _product(size: int, name: str, dtype: torch.dtype) -> Contestant:
    left, right = (torch.randn(size, size, generator=stream(0, "matrix", side)).to(dtype) for side in (1, 2))
    out = torch.empty_like(left)

    def multiply() -> None:
        torch.mm(left, right, out=out)

    return Contestant(name, "PyTorch", name, multiply, 2 * size**3)


def cpu_name() -> str:
    """The processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# Planner ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def measure_planner(
    config: Config, threads: int, repeats: int, sizes: Sizes, port: ModuleType | None
) -> tuple[list[Rate], dict[str, Rate]]:
    """Simulated rounds per second (games x actions x rollouts x horizon per decision), random numbers included.

    An untrained model's predictions are far apart, so that few rollouts coincide: the native kernel gains least here.
    And PyTorch's matrix products in floating-point operations per second, by dtype, measured in turns with the planner.
    """
    model, planner = _model(config), _planner(config)
    gates = model.gates().contiguous()
    hidden = torch.rand(sizes.games, model.hidden, generator=stream(0, "hidden")) * 2 - 1
    generator = stream(0, "rollouts")
    amount = sizes.games * model.n_actions * planner.rollouts * planner.horizon
    narrow = Gates(*(tensor.bfloat16() for tensor in gates)), hidden.bfloat16()

    def decide(gates: Gates, hidden: Tensor) -> Callable[[], Any]:
        return lambda: planner.action_values(gates, model.n_actions, hidden, None, generator, threads)

    contestants = [_on(engine, threads, decide(gates, hidden), amount) for engine in engines(model.hidden)]
    contestants.append(_on(Engine("eager bf16", "PyTorch", "bf16", None), threads, decide(*narrow), amount))
    if port:
        parts = [port.action_values(planner, gates, model.n_actions, part) for part in hidden.chunk(threads)]
        contestants.append(_peer(parts, threads, amount))
    products = [_product(sizes.matrix, name, dtype) for name, dtype in _DTYPES.items()]
    rates = race([*contestants, *products], repeats, sizes.seconds)
    planned, multiplied = rates[: len(contestants)], {rate.name: rate for rate in rates[len(contestants) :]}
    everything = rollout_flops(gates, planner.horizon, amount // planner.horizon)
    shared = _shared_rollout_flops(gates, model.n_actions, planner, hidden)

    def share(rate: Rate) -> float:
        flops = shared if rate.runs_on == "native" else everything
        return flops / rate.seconds / multiplied[rate.dtype].per_second

    return [replace(rate, matmul_share=share(rate)) for rate in planned], multiplied


def rollout_flops(gates: Gates, horizon: int, rollouts: int) -> int:
    """Floating-point operations of the rollouts' matrix products; after the last round no state is needed."""
    return _flops(gates, rollouts * horizon, rollouts * (horizon - 1))


def _shared_rollout_flops(gates: Gates, n_actions: int, planner: Planner, hidden: Tensor) -> int:
    """The same where coinciding rollouts take a step together, as in the native kernel; 0 without it."""
    kernel = native.kernel_for(CPU, hidden.shape[1])
    if kernel is None:
        return 0
    uniforms = planner.uniforms(len(hidden), n_actions, stream(0, "shared"))
    _, steps = kernel.rollouts(gates, None, hidden, uniforms, n_actions, len(gates.table) // (n_actions + 1), 1.0, True)
    return _flops(gates, len(hidden) + steps, steps)


def _flops(gates: Gates, heads: int, steps: int) -> int:
    return 2 * gates.head_weight.numel() * heads + 2 * gates.weight_hh.numel() * steps


def _model(config: Config) -> SequenceModel:
    game = MatrixGame.of(config.game.payoffs)
    sizes = game.n_observations, game.n_actions, config.model.hidden, config.model.embedding
    return SequenceModel(*sizes, identity_size=0, generator=stream(0, "model"))


def _planner(config: Config) -> Planner:
    ppi = config.ppi
    return Planner(ppi.rollouts, ppi.horizon, ppi.inverse_temperature, ppi.discount, ppi.estimator)


def _peer(calls: Sequence[Callable[[], None]], threads: int, amount: float) -> Contestant:
    """The calls side by side: each computes on one thread."""
    return Contestant(PEER, "JAX", "fp32", _side_by_side(calls, threads), amount)


def _side_by_side(calls: Sequence[Callable[[], Any]], threads: int) -> Callable[[], None]:
    def together() -> None:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(call) for call in calls]:
                done.result()

    return together if len(calls) > 1 else calls[0]


# Training --------------------------------------------------------------------------------------------------------


def measure_training(config: Config, threads: int, repeats: int, sizes: Sizes, port: ModuleType | None) -> list[Rate]:
    """Tokens per second of fitting: forward, backward, clipping and AdamW.

    With several threads two learners are fitted, as in a run: side by side where a fit takes one thread, otherwise one
    after the other on all threads.
    """
    ppi = replace(config.ppi, initial_epochs=1.0)  # one pass over as many batches as there are steps to be timed
    data = _tabular_episodes(config, sizes.fit_steps * ppi.batch_size)
    learners = min(threads, 2)
    amount = learners * len(data) * data.rounds

    def fit(engine: Engine) -> Callable[[], None]:
        several = [_learner(replace(config, ppi=ppi), data, number) for number in range(learners)]
        calls = [lambda learner=learner: learner.fit(0) for learner in several]
        return _side_by_side(calls, threads if engine.kernel else 1)

    contestants = [_on(engine, threads, fit(engine), amount) for engine in engines(config.model.hidden)]
    if port:
        calls = [port.trainer(_model(config), ppi, data) for _ in range(learners)]
        contestants.append(_peer(calls, threads, amount))
    return race(contestants, repeats, sizes.seconds)


def _learner(config: Config, data: Episodes, number: int = 1) -> PPILearner:
    game = MatrixGame.of(config.game.payoffs)
    learner = PPILearner(number, game, config.model, config.ppi, seed=0, identity_size=0, device=CPU)
    learner.data = data
    return learner


def _tabular_episodes(config: Config, games: int) -> Episodes:
    """Episodes of fresh memory-one players against each other, as in D_0."""
    return _against_tabular(config, games, _random_tabular(config, "ego"))


def _against_tabular(config: Config, games: int, player: Player) -> Episodes:
    """Episodes of ``player`` against fresh memory-one players, from its side."""
    game = MatrixGame.of(config.game.payoffs)
    return play(game, config.game.rounds, games, (player, _random_tabular(config, "co", games)), CPU)[0]


def _random_tabular(config: Config, *purpose: str | int) -> RandomTabular:
    game = MatrixGame.of(config.game.payoffs)
    return RandomTabular(game.n_observations, game.n_actions, stream(0, "tabular", *purpose))


# A whole phase ---------------------------------------------------------------------------------------------------


def measure_phase(config: Config, threads: int, repeats: int, sizes: Sizes) -> list[PhaseRate]:
    """Fit and collect of a mixed run's first phase, as `train` does them, on what is in use and on the reference.

    Timed are some of the gradient steps and some of the rounds, at full batch sizes, and scaled up: all steps cost the
    same. So do, within a tenth, all rounds of a model that knows nothing yet: the first ones, before the games have
    parted, spare the native kernel that much. The surer a model is, the more rollouts coincide and the less there is to
    compute, so that later phases collect faster than this says.
    """
    totals = _in_turns(config, threads, repeats, lambda: phase_seconds(config, threads, sizes))
    seconds = {name: sum(total) for name, total in totals.items()}
    episodes = POOLS["mixed"].learners * config.ppi.episodes_per_phase
    return [
        PhaseRate(
            engine.name,
            engine.runs_on,
            engine.dtype,
            fit_seconds=totals[engine.name][0],
            collect_seconds=totals[engine.name][1],
            per_second=episodes / seconds[engine.name],
            ratio=seconds[REFERENCE] / seconds[engine.name],
        )
        for engine in _two_engines(config)
    ]


def _two_engines(config: Config) -> tuple[Engine, Engine]:
    return engines(config.model.hidden)[0], _pytorch(REFERENCE)


def _in_turns(
    config: Config, threads: int, repeats: int, seconds: Callable[[], tuple[float, float]]
) -> dict[str, list[float]]:
    """Medians of both parts' seconds, on what is in use and on the reference, which take turns."""
    parts: dict[str, list[tuple[float, float]]] = {IN_USE: [], REFERENCE: []}
    for _ in range(repeats):
        for engine in _two_engines(config):
            with using(engine, threads):
                parts[engine.name].append(seconds())
    return {name: [statistics.median(values) for values in zip(*taken, strict=True)] for name, taken in parts.items()}


def phase_seconds(config: Config, threads: int, sizes: Sizes) -> tuple[float, float]:
    """Seconds of fitting and of collecting in a mixed run's first phase, scaled up from a part of each."""
    ppi, game = config.ppi, config.game
    fitted, steps = sizes.fit_steps * ppi.batch_size, math.ceil(ppi.epochs * ppi.initial_episodes / ppi.batch_size)
    only_fit = replace(ppi, initial_episodes=fitted, epochs=1.0, episodes_per_phase=2, rollouts=1, horizon=1)
    fit = _timings(replace(config, ppi=only_fit), threads)["fit"] * steps / sizes.fit_steps
    episodes, rounds = min(ppi.episodes_per_phase, sizes.collect_episodes), min(game.rounds, sizes.collect_rounds)
    only_collect = replace(ppi, initial_episodes=1, epochs=1.0, episodes_per_phase=episodes)
    shortened = replace(config, game=replace(game, rounds=rounds), ppi=only_collect)
    scale = game.rounds / rounds * ppi.episodes_per_phase / episodes
    return fit, _timings(shortened, threads)["plan"] * scale


def _timings(config: Config, threads: int) -> dict[str, float]:
    """Seconds of each part of the first phase of a run with this configuration, after one step of pre-training."""
    least = config.ppi.batch_size / config.ppi.initial_episodes / 2  # less than a step's worth: rounded up to one
    config = replace(
        config,
        ppi=replace(config.ppi, phases=1, initial_epochs=least),
        measure=MeasureConfig(episode_phases=(), episode_games=1),
    )
    return _timed_run("ppi", config, threads, iteration=1)


def _timed_run(agent: str, config: Config, threads: int, iteration: int) -> dict[str, float]:
    """Seconds of each part that a mixed run with this configuration has recorded at ``iteration``."""
    with tempfile.TemporaryDirectory(prefix="coopctx-bench-") as directory:
        job = Job(RunSpec(agent, "mixed", False, 0, "bench"), config, Path(directory), "cpu", threads, True, ())
        outcome = run_one(job, SilentProgress())
        if outcome.state == "failed":
            raise RunError(f"the timed run failed: {outcome.message}")
        timings = read_run_table(job.directory, "timings").to_pandas()
    recorded = timings[timings.iteration == iteration]
    return dict(zip(recorded.part, recorded.seconds.astype(float), strict=True))


# An iteration of A2C ---------------------------------------------------------------------------------------------


def measure_iteration(config: Config, threads: int, repeats: int, sizes: Sizes) -> list[IterationRate]:
    """Play and update of a mixed A2C run, as `train` does them, on what is in use and on the reference.

    Where the batch is larger than `Sizes.iteration_episodes`, it is timed in part and scaled up.
    """
    totals = _in_turns(config, threads, repeats, lambda: iteration_seconds(config, threads, sizes))
    seconds = {name: sum(total) for name, total in totals.items()}
    return [
        IterationRate(
            engine.name,
            engine.runs_on,
            engine.dtype,
            play_seconds=totals[engine.name][0],
            update_seconds=totals[engine.name][1],
            per_second=1 / seconds[engine.name],
            ratio=seconds[REFERENCE] / seconds[engine.name],
        )
        for engine in _two_engines(config)
    ]


def iteration_seconds(config: Config, threads: int, sizes: Sizes) -> tuple[float, float]:
    """Seconds of playing and of updating in one iteration, the mean over some that follow the first one."""
    episodes, last = min(config.a2c.batch_size, sizes.iteration_episodes), 1 + sizes.iterations
    a2c = replace(config.a2c, batch_size=episodes, iterations=last, measure_every=last, episode_iterations=(1,))
    short = replace(config, a2c=a2c, measure=MeasureConfig(episode_phases=(), episode_games=1))
    seconds = _timed_run("a2c", short, threads, iteration=last)
    scale = config.a2c.batch_size / episodes / sizes.iterations
    return seconds["play"] * scale, seconds["update"] * scale


# Estimators ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def measure_estimators(config: Config, threads: int, repeats: int, sizes: Sizes) -> list[Estimate]:
    """Variance and cost of both estimators of Q, on what is in use, at states that a briefly trained agent visits."""
    engine = engines(config.model.hidden)[0]
    with using(engine, threads):
        learner = _briefly_trained(config, sizes)
        gates = learner.model.gates().contiguous()
        visited = _visited_states(config, learner, gates, sizes, threads)
        planners = {name: replace(learner.planner, estimator=name) for name in ESTIMATORS}
        variances = {
            name: _variance(planner, gates, learner.model.n_actions, visited, sizes.draws, threads)
            for name, planner in planners.items()
        }
    games = visited[torch.arange(sizes.games) % len(visited)].contiguous()
    generator = stream(0, "estimator cost")

    def decide(planner: Planner) -> Callable[[], Any]:
        return lambda: planner.action_values(gates, learner.model.n_actions, games, None, generator, threads)

    contestants = [_on(replace(engine, name=name), threads, decide(planner), 1) for name, planner in planners.items()]
    seconds = {rate.name: rate.seconds for rate in race(contestants, repeats, sizes.seconds)}
    costs = {name: variances[name] * seconds[name] for name in planners}
    return [
        Estimate(name, variances[name], seconds[name], costs["sampled"] / cost if cost else None)
        for name, cost in costs.items()
    ]


def _briefly_trained(config: Config, sizes: Sizes) -> PPILearner:
    """Fitted to tabular play for seconds, whatever the settings say of data and learning rate."""
    schedule: dict[str, Any] = {"initial_epochs": 1.0, "learning_rate": 3e-3, "final_learning_rate": 3e-4}
    ppi = replace(config.ppi, batch_size=sizes.estimator_batch, **schedule)
    data = _tabular_episodes(config, sizes.estimator_steps * ppi.batch_size)
    learner = _learner(replace(config, ppi=ppi), data)
    with torch.enable_grad():
        learner.fit(0)
    return learner


def _visited_states(config: Config, learner: PPILearner, gates: Gates, sizes: Sizes, threads: int) -> Tensor:
    """Hidden states ``[states, hidden]`` drawn from all rounds of the agent's games against tabular players."""
    model, games = learner.model, sizes.visiting_games
    episodes = _against_tabular(config, games, learner.player("bench", threads=threads))
    hidden, states = torch.zeros(games, model.hidden), []
    action, reward = torch.full((games,), model.n_actions), torch.zeros(games)
    for t in range(episodes.rounds):
        hidden = step(gates, hidden, model.index(episodes.observations[:, t], action), reward, None)
        action, reward = episodes.actions[:, t], episodes.rewards[:, t]
        states.append(hidden)
    visited = torch.cat(states)
    return visited[torch.randperm(len(visited), generator=stream(0, "visited"))[: sizes.states]]


def _variance(planner: Planner, gates: Gates, n_actions: int, states: Tensor, draws: int, threads: int) -> float:
    """Variance over draws of Q(x, a) - Q(x, 0), mean over the states x and actions a > 0."""
    hidden = states.repeat_interleave(draws, 0)
    values = planner.action_values(gates, n_actions, hidden, None, stream(0, "estimator"), threads)
    differences = (values[:, 1:] - values[:, :1]).double().view(len(states), draws, -1)
    return float(differences.var(1).mean())


# Shown -----------------------------------------------------------------------------------------------------------


def tables(report: Report) -> RenderableType:
    """The report for a reader: where and what, then a table per part."""
    of_ppi = _planner_table(report), _training_table(report), _phase_table(report)
    return Group(_heading(report), *of_ppi, _iteration_table(report), _estimator_table(report))


def _heading(report: Report) -> Text:
    machine, settings, ppi = report.machine, report.settings, report.settings["ppi"]
    load = "" if machine.load is None else f", load {machine.load:.1f}"
    lines = (
        machine.cpu,
        f"{_counted(machine.cores, 'core')}, {_counted(machine.threads, 'thread')} used{load}",
        f"torch {machine.torch}, JAX {machine.jax or 'not installed'}, Python {machine.python}",
        f"torch.mm: fp32 {machine.matmul_fp32:.0f}, bf16 {machine.matmul_bf16:.0f} GFLOP/s",
        f"preset {report.preset}: hidden {settings['model']['hidden']}, rollouts {ppi['rollouts']}, "
        f"horizon {ppi['horizon']}, batch {ppi['batch_size']}, {settings['game']['rounds']} rounds a game",
        f"medians of {report.repeats}, taken in turns",
    )
    busy = (
        f"The machine is busy: matrix products got {machine.granted:.0%} of the processor time they could use.",
        "Measure again when it is idle.",
    )
    return Text("\n".join(lines if machine.granted > ENOUGH else (*lines, *busy)))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n > 1 else ''}"


_RATIOS = "times\nreference", "times\nJAX", "cores\nbusy"


def _planner_table(report: Report) -> Table:
    title = f"planner: GRU steps with heads and sampling, {report.sizes.games} games"
    table = _table(title, "M steps\nper s", *_RATIOS, "of\ntorch.mm")
    for rate in report.planner:
        table.add_row(*_rate_cells(rate, report.planner), f"{rate.matmul_share:.0%}")
    return table


def _training_table(report: Report) -> Table:
    title = f"training: forward, backward, clip, AdamW; {_counted(min(report.machine.threads, 2), 'learner')}"
    table = _table(title, "M tokens\nper s", *_RATIOS)
    for rate in report.training:
        table.add_row(*_rate_cells(rate, report.training))
    return table


def _rate_cells(rate: Rate, rates: Sequence[Rate]) -> tuple[str, ...]:
    peer = next((f"{rate.per_second / other.per_second:.2f}" for other in rates if other.name == PEER), "-")
    numbers = f"{rate.per_second / 1e6:.3f}", f"{rate.ratio:.2f}", peer, f"{rate.cores:.2f}"
    return (rate.name, f"{rate.runs_on} {rate.dtype}", *numbers)


def _phase_table(report: Report) -> Table:
    sizes = report.sizes
    headings = "fit,\nseconds", "collect,\nseconds", "episodes\nper s", "times\nreference"
    table = _table("a whole phase: the first of a mixed run", *headings)
    table.caption = (
        f"scaled up from {sizes.fit_steps} gradient steps and {sizes.collect_rounds} rounds of up to "
        f"{sizes.collect_episodes} episodes per learner"
    )
    for phase in report.phase:
        seconds = f"{phase.fit_seconds:.2f}", f"{phase.collect_seconds:.2f}"
        rates = f"{phase.per_second:.1f}", f"{phase.ratio:.2f}"
        table.add_row(phase.name, f"{phase.runs_on} {phase.dtype}", *seconds, *rates)
    return table


def _iteration_table(report: Report) -> Table:
    headings = "play,\nms", "update,\nms", "iterations\nper s", "times\nreference"
    table = _table(f"an iteration of A2C: both learners, {report.settings['a2c']['batch_size']} episodes each", *headings)
    for rate in report.iteration:
        numbers = f"{rate.play_seconds * 1e3:.0f}", f"{rate.update_seconds * 1e3:.0f}", f"{rate.per_second:.2f}"
        table.add_row(rate.name, f"{rate.runs_on} {rate.dtype}", *numbers, f"{rate.ratio:.2f}")
    return table


def _estimator_table(report: Report) -> Table:
    headings = "variance", "ms\na call", "variance x cost,\nsampled : this"
    table = _table("estimators of Q(x, a) - Q(x, 0)", *headings, kinds=("estimator",))
    for estimate in report.estimator:
        ratio = "-" if estimate.ratio is None else f"{estimate.ratio:.1f}"
        table.add_row(estimate.name, f"{estimate.variance:.3g}", f"{estimate.seconds * 1e3:.1f}", ratio)
    return table


def _table(title: str, *numbers: str, kinds: Sequence[str] = ("", "computed by")) -> Table:
    table = Table(*kinds, title=title, title_justify="left", caption_justify="left")
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table
