"""The benchmark's report as plain data: sizes, rates and the machine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, cast, get_args, get_origin, get_type_hints


def counted(n: int, noun: str) -> str:
    """ "1 thread", "2 threads"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


@dataclass(frozen=True)
class Sizes:
    """How much work a measurement does. It is smaller than real work only if the cost is known to be proportional."""

    games: int = 512  # games in which the planner decides at once
    fit_steps: int = 16  # gradient steps per learner
    collect_rounds: int = 2  # rounds played of a phase's episodes; all rounds of an untrained model cost about the same
    collect_episodes: int = 1024  # episodes per agent in those rounds, at most
    iterations: int = 3  # of A2C
    iteration_episodes: int = 1024  # episodes per learner in these, at most
    estimator_steps: int = 160  # gradient steps before the estimators are compared
    estimator_batch: int = 64  # episodes per such step
    visiting_games: int = 64  # games against tabular players from which states are taken
    states: int = 512  # visited states at which they are compared
    draws: int = 32  # estimates per state
    matrix: int = 768  # rows and columns of the matrix product: two operands fit a core's cache
    seconds: float = 0.1  # shortest measurement: faster work is repeated


@dataclass(frozen=True)
class Rate:
    """A measured throughput.

    threads: that it may use. per_second: in units of the table. seconds: median of one call. cores: processor time over wall
    time; below the number of threads if they waited or the machine was busy. ratio: to the reference. matmul_share: share of the
    machine's rate for matrix products in this dtype on as many threads; None if products are not counted.
    """

    name: str
    runs_on: str
    dtype: str
    threads: int
    per_second: float
    seconds: float
    cores: float
    ratio: float
    matmul_share: float | None = None


@dataclass(frozen=True)
class PhaseRate:
    """Fitting and collecting of a mixed run's first phase, scaled up to the whole phase.

    per_second: new episodes, counted once for each learner that learns from them; ratio: to the reference.
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
    """An iteration of A2C's mixed run, both learners. ratio: to the reference on as many threads, which plays without gradients
    and then recomputes all outputs with torch.nn.GRU and autograd."""

    name: str
    runs_on: str
    dtype: str
    threads: int
    play_seconds: float
    update_seconds: float
    per_second: float
    ratio: float


@dataclass(frozen=True)
class PartCost:
    """A part of a run on the engine in use.

    seconds: as the whole part takes. per_million: core seconds per 10^6 agent-rounds, that is rounds that an agent plays or
    learns from. matmul_share: share of the machine's rate for matrix products in this dtype on as many threads; None if products
    are not counted.
    """

    name: str
    seconds: float
    per_million: float
    matmul_share: float | None = None


@dataclass(frozen=True)
class Growth:
    """What a phase of PPI or an iteration of A2C costs with some setting changed; changed: empty for none."""

    agent: str
    changed: str
    threads: int
    parts: list[PartCost]


@dataclass(frozen=True)
class EstimatorCost:
    """An estimator of Q with the settings' rollouts.

    variance: of Q(x, a) - Q(x, 0) given x, mean over states x visited in play and a > 0, payoff units squared;
    seconds: per decision in `Sizes.games` games; ratio: variance x seconds of plain sampling divided by this
    estimator's, None if it has no variance (a horizon of one round).
    """

    name: str
    variance: float
    seconds: float
    ratio: float | None


@dataclass(frozen=True)
class Machine:
    """The machine. threads: that the work may use, at most."""

    cpu: str
    cores: int
    threads: int
    load: float | None  # runnable processes at the start, mean over a minute
    granted: float  # share of the threads' time that matrix products got; 1 on an idle machine
    python: str
    torch: str
    jax: str | None
    products: list[Products]


@dataclass(frozen=True)
class Products:
    """The machine's rate for matrix products in GFLOP/s, by torch.mm."""

    threads: int
    fp32: float
    bf16: float


@dataclass(frozen=True)
class Report:
    """The result of one call of `measure`."""

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
    growth: list[Growth]
    estimator: list[EstimatorCost]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote; ValueError if it is none, or of another version."""
        try:
            return _built(cls, json.loads(text))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a report of this version: {error}") from error


def _built(hint: Any, value: Any) -> Any:
    """A value from JSON as the type that it was."""
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return cast(Any, hint)(**{name: _built(hints[name], each) for name, each in value.items()})
    if get_origin(hint) is list:
        return [_built(get_args(hint)[0], each) for each in value]
    return value
