"""What learners that follow a policy gradient share: the loss's terms, its normaliser, schedules, the measures of a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from coopctx.agents.learner import Learner
from coopctx.agents.record import diagnose
from coopctx.runs.run import Run

SMALLEST_DEVIATION = 1e-8  # added to the advantages' standard deviation before it divides them


class Update(NamedTuple):
    """Measures of a gradient step, or means over several, scalars: the loss's three terms without their weights (entropy in
    nats), and the gradient's norm before clipping."""

    policy: Tensor
    value: Tensor
    entropy: Tensor
    gradient_norm: Tensor


class PolicyLearner(Learner):
    """A learner with one optimiser for the whole run, and moving averages of its advantages' variances.

    variance_decay: the weight of the batches before in these averages.
    """

    _optimizer: torch.optim.Optimizer

    def __init__(self, number: int, seed: int, variance_decay: float = 0.0) -> None:
        super().__init__(number, seed)
        self._variance_decay = variance_decay
        self._variances: Tensor | None = None  # [kinds]; None before the first batch

    def _divisors(self, variances: Tensor) -> Tensor:
        """What normalised advantages are divided by, [kinds]: the root of the moving average that ``variances`` [kinds] join.

        To be called once per batch.
        """
        before = variances if self._variances is None else self._variances.to(variances)
        self._variances = variances.lerp(before, self._variance_decay)
        return self._variances.sqrt() + SMALLEST_DEVIATION

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint, with the optimiser's moments and the variances, None before the first batch."""
        return {**super().state(), "optimizer": self._optimizer.state_dict(), "variances": self._variances}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the learner to a `state`; one that was written before there were averaged variances has none."""
        super().restore(state)
        self._optimizer.load_state_dict(state["optimizer"])
        self._variances = state.get("variances")


class Outputs(NamedTuple):
    """An actor-critic's outputs on episodes: log pi(a_t) and values [games, rounds], and the mean entropy in nats."""

    log_chosen: Tensor
    values: Tensor
    entropy: Tensor

    @classmethod
    def of(cls, outputs: Tensor, actions: Tensor) -> Outputs:
        """From ``outputs`` [games, rounds, A + 1], the logits and the value, and ``actions`` [games, rounds]."""
        log_policy = outputs[..., :-1].movedim(-1, 0).log_softmax(0)  # [A, games, rounds]: faster than along the last axis
        entropy = -(log_policy.exp() * log_policy).sum(0).mean()
        return cls(log_policy.gather(0, actions.long()[None])[0], outputs[..., -1], entropy)


def linear(first: float, final: float, done: float) -> float:
    """A setting that changes linearly from ``first`` (``done`` = 0) to ``final`` (1)."""
    return first + (final - first) * done


def changed(iteration: float, iterations: int, share: float = 1.0, hold: float = 0.0) -> float:
    """The part of a scheduled change that an iteration, counted from 1, has reached: 0 at first, 1 once it is complete.

    hold: the share of the iterations before the change begins. share: of the iterations after that, those that it takes.
    """
    done = (iteration - 1) / max(iterations - 1, 1)
    return min(max(done - hold, 0.0) / ((1 - hold) * share), 1.0)


def record_updates(run: Run, iteration: int, learners: Sequence[Learner], updates: Iterable[Sequence[Update]]) -> None:
    """Record each learner's means over ``updates`` [iteration][learner], those since the last measurement; there may be none."""
    for learner, own in zip(learners, zip(*updates, strict=True), strict=False):
        means = torch.stack([torch.stack(update) for update in own]).mean(0).tolist()
        names = "loss_policy", "loss_value", "entropy", "gradient_norm"
        diagnose(run, iteration, learner.number, dict(zip(names, means, strict=True)))
