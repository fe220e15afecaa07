"""The PPI player: a sequence model and the planner that improves on it (Alg. 1)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from coopctx.agents.beliefs import Beliefs, predicted_action
from coopctx.agents.player import TrunkPlayer
from coopctx.agents.ppi.model import SequenceModel, predict
from coopctx.agents.ppi.planner import Planner
from coopctx.agents.trunk import rebuilt, sizes_of, step
from coopctx.experiments.settings import Config
from coopctx.game.sampling import choose


class PPIPlayer(TrunkPlayer):
    """Plays pi(a | x), proportional to p(a | x) exp(beta Q(x, a)), with a model that it does not change.

    It sums KL(pi || p) over all its decisions, see `mean_divergence` (App. C).
    """

    def __init__(self, model: SequenceModel, planner: Planner, generator: torch.Generator, threads: int = 1) -> None:
        super().__init__(model, generator)
        self._planner, self._threads = planner, threads
        self._divergence: Tensor | float = 0.0
        self._decisions = 0

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        model, gates = self._model, self._gates
        index = model.index(observation, self._previous)
        self._hidden = step(gates, self._hidden, index, reward, self._extra)
        heads = predict(gates, self._hidden, model.n_actions)
        prior = heads.action
        values = self._planner.action_values(
            gates, model.n_actions, self._hidden, self._extra, self._generator, self._threads
        )
        policy = self._planner.improve(prior, values)
        self._divergence = self._divergence + (policy.exp() * (policy - prior)).sum(dtype=torch.float64)
        self._decisions += len(policy)
        self._decision = heads, values, policy
        uniform = torch.rand(len(policy), generator=self._generator).to(policy.device)
        self._previous = choose(policy.exp(), uniform)
        return self._previous

    @property
    def beliefs(self) -> Beliefs:
        """The beliefs before its last decision, ``[games, ...]``; AttributeError before the first."""
        heads, values, log_policy = self._decision
        policy = log_policy.exp()
        return Beliefs(policy, heads.action.exp(), values, predicted_action(policy, heads.observation))

    def mean_divergence(self) -> float:
        """Mean KL(pi || p) in nats per decision so far; nan before the first."""
        return float(self._divergence) / self._decisions if self._decisions else float("nan")


model_of = partial(rebuilt, SequenceModel)  # model_of(config, weights): the model of a finished run


def player_of(model: SequenceModel, config: Config, generator: torch.Generator, threads: int = 1) -> PPIPlayer:
    """The player of a trained model, with the planner of ``config``."""
    return PPIPlayer(model, Planner.of(config.ppi), generator, threads)


def untrained(config: Config, identity_size: int, generator: torch.Generator) -> SequenceModel:
    """The model that a learner begins with, before it is fitted to D_0."""
    return SequenceModel(*sizes_of(config, identity_size), generator, config.ppi.initialisation)
