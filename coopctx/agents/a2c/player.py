"""The A2C player of a finished run (App. A.3.2)."""

from __future__ import annotations

from functools import partial

import torch

from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.trunk import ActorCritic, rebuilt, sizes_of
from coopctx.experiments.settings import Config

model_of = partial(rebuilt, ActorCritic)  # model_of(config, weights): the model of a finished run


def player_of(model: ActorCritic, config: Config, generator: torch.Generator, threads: int = 1) -> PolicyPlayer:
    """The player of a trained model. It ignores ``config`` and ``threads``, which the registry passes to every kind of agent."""
    return PolicyPlayer(model, generator)


def untrained(config: Config, identity_size: int, generator: torch.Generator) -> ActorCritic:
    """The model that a learner begins with."""
    return ActorCritic(*sizes_of(config, identity_size), generator, config.a2c.initialisation, config.a2c.zero_readouts)
