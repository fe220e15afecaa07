"""One PPI learner: its model, its data, and how a phase's fit improves the model (Alg. 1, App. A.3.1)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from coopctx.agents.learner import Learner
from coopctx.agents.ppi.model import Losses, SequenceModel
from coopctx.agents.ppi.planner import Planner
from coopctx.agents.ppi.player import PPIPlayer
from coopctx.agents.trunk import on_one_vector
from coopctx.experiments.settings import ModelConfig, PPIConfig
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame

CPU = torch.device("cpu")
EVALUATION_BATCH = 1024  # episodes per forward pass when only losses are wanted


class PPILearner(Learner):
    """A model and all episodes that its agent has played. Two learners of a run share nothing but the seed.

    number: 1 or 2. identity_size: the size of the co-player's identity z (App. A.4.1), 0 without it. data: to be set to D_0
    before the first fit, and extended after every phase; no part of the `state`.
    """

    data: Episodes

    def __init__(
        self,
        number: int,
        game: MatrixGame,
        model: ModelConfig,
        ppi: PPIConfig,
        seed: int,
        identity_size: int = 0,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(number, seed)
        self._ppi, self._device = ppi, device
        sizes = game.n_observations, game.n_actions, model.hidden, model.embedding, identity_size
        self.model: SequenceModel = SequenceModel(*sizes, self._stream("initialise", 0), ppi.initialisation).to(device)
        self.planner = Planner.of(ppi)

    def fit(self, phase: int, on_progress: Callable[[float], None] = lambda fraction: None) -> Losses[float]:
        """Train the model on all data so far; phase 0 is pre-training on D_0.

        Returns the mean losses of the last pass. Between phases the weights carry over except for the share that the
        settings re-initialise; the optimiser always starts anew.
        """
        ppi = self._ppi
        if phase > 0 and ppi.reinitialise > 0:
            self._mix_in_fresh_weights(phase)
        steps = math.ceil((ppi.epochs if phase else ppi.initial_epochs) * len(self.data) / ppi.batch_size)
        weights = on_one_vector(self.model)  # a step on one tensor is faster than on many
        optimizer = torch.optim.AdamW(
            [weights],
            lr=ppi.learning_rate,
            betas=(ppi.beta1, ppi.beta2),
            weight_decay=ppi.weight_decay,
            fused=True,
        )
        batches = _minibatches(len(self.data), ppi.batch_size, self._stream("minibatches", phase))
        last_pass = math.ceil(len(self.data) / ppi.batch_size)
        history: deque[Tensor] = deque(maxlen=last_pass)
        for step in range(steps):
            fraction = step / steps
            optimizer.param_groups[0]["lr"] = torch.lerp(
                torch.tensor(ppi.learning_rate), torch.tensor(ppi.final_learning_rate), fraction
            ).item()
            history.append(self._gradient_step(next(batches).to(self._device), weights, optimizer))
            on_progress(fraction)
        return Losses(*torch.stack(list(history)).mean(0).tolist())

    def _mix_in_fresh_weights(self, phase: int) -> None:
        """w <- (1 - share) w + share * fresh: the paper's re-initialisation at 1, shrink-and-perturb between 0 and 1."""
        with torch.no_grad():
            before = [parameter.clone() for parameter in self.model.parameters()]
            self.model.initialise(self._stream("initialise", phase))
            for parameter, old in zip(self.model.parameters(), before, strict=True):
                parameter.lerp_(old, 1 - self._ppi.reinitialise)

    def _gradient_step(self, games: Tensor, weights: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step on the weighted loss of these episodes of the data; returns the three losses, [3].

        weights: the vector that all parameters of the model are parts of (`on_one_vector`), which ``optimizer`` changes.
        """
        ppi = self._ppi
        factors = Losses(ppi.observation_weight, ppi.action_weight, ppi.reward_weight)
        gradients, losses = self.model.gradients(self.data, games, factors)
        norm = get_total_norm(gradients)
        weights.grad = torch.cat([gradient.flatten() for gradient in gradients])
        clip_grads_with_norm_(weights, ppi.max_grad_norm, norm)
        optimizer.step()
        return losses

    def evaluate(self, episodes: Episodes) -> Losses[float]:
        """Mean losses on ``episodes`` (held out as long as they are not in ``data``)."""
        parts = [episodes[i : i + EVALUATION_BATCH] for i in range(0, len(episodes), EVALUATION_BATCH)]
        sums = torch.zeros(3, dtype=torch.float64, device=self._device)
        for part in parts:
            with torch.no_grad():
                sums += torch.stack(self.model.losses(part)).double() * len(part)
        return Losses(*(sums / len(episodes)).tolist())

    def player(self, *purpose: str | int, threads: int = 1) -> PPIPlayer:
        """The improved policy of the current model; ``purpose`` names its random stream."""
        return PPIPlayer(self.model, self.planner, self._stream("play", *purpose), threads)


def _minibatches(size: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Index tensors without end: each pass is a fresh permutation; its last batch may be short."""
    while True:
        yield from torch.randperm(size, generator=generator).split(batch)
