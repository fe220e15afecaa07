"""The A2C player of a finished run (App. A.3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.trunk import ActorCritic, rebuilt
from coopctx.experiments.settings import Config


def model_of(config: Config, weights: Mapping[str, Tensor]) -> ActorCritic:
    """The model that a run with these settings left as ``weights``."""
    return rebuilt(ActorCritic, config, weights)


def player_of(model: ActorCritic, config: Config, generator: torch.Generator, threads: int = 1) -> PolicyPlayer:
    """The player of a trained model; neither settings nor threads matter to it."""
    return PolicyPlayer(model, generator)
