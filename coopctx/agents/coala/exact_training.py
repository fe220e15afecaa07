"""The training of one run of the exact game: gradient steps of the meta agents (arXiv:2410.18636, Sec. 4, App. C).

Every random stream is named after its step, so a resumed run continues as if it had not been stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from coopctx.agents.coala import exact
from coopctx.agents.coala.learner import learning_rate
from coopctx.agents.coala.player import FiveLogits
from coopctx.agents.loop import Loop, Schedule
from coopctx.agents.policy_gradient import PolicyLearner
from coopctx.agents.record import diagnose
from coopctx.agents.trained import needed_agents
from coopctx.experiments.settings import CoalaConfig
from coopctx.game.memory_one import SWAPPED

DEFECTING = -3.0  # initial logits of an agent that defects: it cooperates in one round of 20
WEIGHT_DECAY = 1e-4  # AdamW's; the paper does not state it; Optax's default


class ExactLearner(PolicyLearner):
    """A meta agent's logits, float64 [5], and its optimiser."""

    def __init__(self, number: int, logits: Tensor, coala: CoalaConfig, seed: int) -> None:
        super().__init__(number, seed)
        self._coala = coala
        self.model: FiveLogits = FiveLogits(logits)
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), maximize=True, lr=coala.learning_rate, weight_decay=WEIGHT_DECAY
        )

    def ascend(self, gradient: Tensor, iteration: int) -> None:
        """Take a step along a gradient [5]; ``iteration`` counts from 1."""
        self._optimizer.param_groups[0]["lr"] = learning_rate(self._coala, iteration)
        self.model.logits.grad = gradient
        self._optimizer.step()


class ExactTraining(Loop):
    """The iterations of one run of the exact game, each a step of every meta agent along its meta gradient.

    Rewards and cooperation rates in its tables are those of the infinite discounted game, per round; against naive learners
    they are means over all M games. In the episodes table ``round`` is the number of such a game, from 1.
    """

    def _set_up(self) -> None:
        self._coala = coala = self._config.coala
        self._rewards = torch.tensor(self._game.payoffs, dtype=torch.float64).flatten()
        needed = needed_agents(self._spec, self._config, self._results)
        starts = [agent.weights[0]["logits"] for agent in needed] or self._first_logits()
        self._learners: Sequence[ExactLearner] = [
            ExactLearner(number, logits, coala, self._spec.seed) for number, logits in enumerate(starts, start=1)
        ]
        self._schedule = Schedule(coala.iterations, coala.measure_every, coala.episode_iterations, curves_at_0=True)

    def _first_logits(self) -> list[Tensor]:
        """The initial logits: all-defect for a single agent, N(0, 1) for several."""
        if self._pool.learners == 1:
            return [torch.full((5,), DEFECTING, dtype=torch.float64)]
        numbers = range(1, self._pool.learners + 1)
        return [torch.randn(5, dtype=torch.float64, generator=self._stream("initialise", number)) for number in numbers]

    def _metas(self) -> Tensor:
        return torch.stack([learner.model.logits.detach() for learner in self._learners])

    def _naive(self, *purpose: str | int) -> Tensor:
        """Initial logits of new naive learners for each meta agent, N(0, 1), [agents, learners, 5]."""
        sizes = len(self._learners), self._coala.meta_batch, 5
        return torch.randn(sizes, dtype=torch.float64, generator=self._stream("naive", *purpose))

    def _naive_share(self) -> float:
        kinds = self._pool.opponents
        return self._coala.naive_share if len(kinds) > 1 else float("naive" in kinds)

    def _advance(self, iteration: int) -> None:
        coala, share = self._coala, self._naive_share()
        with self._timed("update"):
            settings = self._rewards, coala.discount, coala.naive_learning_rate, coala.inner_episodes, share
            ascent = exact.meta_gradient(self._metas(), self._naive("training", iteration), *settings)
            for learner, gradient in zip(self._learners, ascent, strict=True):
                learner.ascend(gradient, iteration)
        self._progress.activity(iteration, "training", 1.0)

    # Measuring ---------------------------------------------------------------------------------------------------

    def _measure_and_record(self, iteration: int, with_curves: bool) -> dict[str, float]:
        """Record averages, the curves over the M games of meta agent 1's naive learners, and the policies."""
        averages: dict[str, list[dict[str, float]]] = {}
        for opponent, of_agents in self._visits(iteration).items():
            for learner, games in zip(self._learners, of_agents, strict=True):
                for player, seen in (("ego", games), ("co", games[..., SWAPPED])):
                    keys = {"iteration": iteration, "learner": learner.number, "opponent": opponent, "player": player}
                    measures = self._measures(seen.flatten(0, 1))
                    self._run.record("training", [{**keys, **measures}])
                    if player == "ego":
                        averages.setdefault(opponent, []).append(measures)
                    if with_curves and learner.number == 1 and opponent == "naive":
                        curve = enumerate(seen.unbind(1), start=1)
                        self._run.record("episodes", ({**keys, "round": t, **self._measures(game)} for t, game in curve))
        for learner in self._learners:
            diagnose(self._run, iteration, learner.number, learner.model.chances())
        return {
            f"{short}_{opponent}": sum(measures[name] for measures in each) / len(each)
            for opponent, each in averages.items()
            for short, name in (("cooperation", "cooperation_rate"), ("reward", "reward"))
        }

    @torch.no_grad()
    def _visits(self, iteration: int) -> dict[str, Tensor]:
        """Visits of the joint actions by kind of co-player, [agents, co-players, games in a row, 4]."""
        coala, metas = self._coala, self._metas()
        settings = self._rewards, coala.discount, coala.naive_learning_rate, coala.inner_episodes
        visits = {"naive": exact.shape(metas, self._naive("measuring", iteration), *settings)}
        if len(metas) > 1:
            visits["learner"] = exact.play(metas, metas.flip(0), self._rewards, coala.discount).visits[:, None, None]
        return visits

    def _measures(self, visits: Tensor) -> dict[str, float]:
        """Cooperation rate and reward, means over games, from visits [games, 4] in the player's view."""
        mean = visits.mean(0)
        cooperation, reward = float(mean[:2].sum()), float(mean @ self._rewards)
        return {"cooperation_rate": cooperation, "reward": reward, "episodes": len(visits)}
