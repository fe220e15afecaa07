"""Meta agents at play. The recurrent one is the player of A2C, whose memory runs on as long as nobody calls ``begin``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from coopctx import native
from coopctx.agents.beliefs import Beliefs
from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.trunk import ActorCritic, rebuilt, sizes_of
from coopctx.experiments.settings import Config
from coopctx.game.player import Player

SITUATIONS = ("start", "cc", "cd", "dc", "dd")  # that a memory-one policy tells apart, its own action first


class FiveLogits(nn.Module):
    """A memory-one policy: logits [5] of cooperating in the first round and after CC, CD, DC, DD."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def chances(self) -> dict[str, float]:
        """The probabilities of cooperating, by situation."""
        return {f"cooperation_after_{name}": p for name, p in zip(SITUATIONS, torch.sigmoid(self.logits).tolist(), strict=True)}


class FiveLogitPlayer(Player):
    """Cooperates with the probability that belongs to the last observation; logits [5]."""

    recurrence: native.Recurrence | None = None  # there is nothing that an update could use again

    def __init__(self, logits: Tensor, generator: torch.Generator) -> None:
        self._chances, self._generator = torch.sigmoid(logits.detach()).float(), generator

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        chance = self._chances.to(observation.device)[observation]
        self._policy = torch.stack([chance, 1 - chance], -1)
        uniform = torch.rand(len(observation), generator=self._generator).to(observation.device)
        return (uniform >= chance).long()  # 0 cooperates

    @property
    def beliefs(self) -> Beliefs:
        """The policy before its last decision; it has no other beliefs."""
        return Beliefs(self._policy)

    def replay(self, action: Tensor) -> None:
        """A memory-one policy does not remember its own actions but by the next observation."""


MetaPlayer: TypeAlias = FiveLogitPlayer | PolicyPlayer  # of a meta agent; `begin` is called once per meta-trajectory


def model_of(config: Config, weights: Mapping[str, Tensor]) -> FiveLogits | ActorCritic:
    """The model that a run with these settings left as ``weights``."""
    if "logits" in weights:
        return FiveLogits(weights["logits"].clone())
    return rebuilt(ActorCritic, config, weights, config.coala.hidden)


def player_of(model: FiveLogits | ActorCritic, config: Config, generator: torch.Generator, threads: int = 1) -> MetaPlayer:
    """The player of a trained model; neither settings nor threads matter to it."""
    return FiveLogitPlayer(model.logits, generator) if isinstance(model, FiveLogits) else PolicyPlayer(model, generator)


def untrained(config: Config, identity_size: int, generator: torch.Generator) -> FiveLogits | ActorCritic:
    """The model that a learner of sampled games begins with: both actions are as likely."""
    if config.coala.policy == "five-logit":
        return FiveLogits(torch.zeros(len(SITUATIONS)))
    sizes = sizes_of(config, identity_size, config.coala.hidden)
    return ActorCritic(*sizes, generator, "flax", zero_readouts=True)
