"""What all learners have: a number, a model, random streams of their own and a state for checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from coopctx.game.streams import stream


class Learner:
    """A learner of a run.

    number: which learner of the run it is, from 1; part of the name of each of its random streams.
    """

    model: nn.Module

    def __init__(self, number: int, seed: int) -> None:
        self.number, self._seed = number, seed

    def _stream(self, *names: str | int) -> torch.Generator:
        return stream(self._seed, f"learner {self.number}", *names)

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint: the weights (random streams are derived per iteration)."""
        return {"model": self.model.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the learner to a `state`."""
        self.model.load_state_dict(state["model"])
