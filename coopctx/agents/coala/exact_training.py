"""One run of the exact game: gradient steps of the meta agents, measured now and then (arXiv:2410.18636, Sec. 4, App. C).

Everything that a step is drawn from is named by its number, so that a resumed run goes on as it would have.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from coopctx.agents.coala import exact
from coopctx.agents.coala.learner import FiveLogits
from coopctx.agents.record import counted, diagnose, final_weights, record_timings
from coopctx.agents.trained import needed_agents
from coopctx.experiments.pools import POOLS, RunSpec
from coopctx.experiments.settings import Config
from coopctx.game.matrix import MatrixGame
from coopctx.game.streams import stream
from coopctx.runs.progress import Progress
from coopctx.runs.run import Run

DEFECTING = -3.0  # the logits of an agent that starts by defecting: it cooperates in one round of 20
WEIGHT_DECAY = 1e-4  # AdamW's; the paper does not state it, and this is Optax's own


class ExactLearner:
    """A meta agent's logits and its number, from 1."""

    def __init__(self, number: int, logits: Tensor) -> None:
        self.number, self.model = number, FiveLogits(logits)


class ExactTraining:
    """The iterations of one run of the exact game.

    Iteration k in its tables is the agents after k gradient steps. Reward and cooperation rate are those of the endless
    discounted game, per round; against naive learners they are means over all M games, and the round of the episodes table is
    the number of such a game, from 1.
    """

    def __init__(
        self, spec: RunSpec, config: Config, run: Run, results: Path, device: torch.device, threads: int, progress: Progress
    ) -> None:
        self._spec, self._coala, self._run, self._progress = spec, config.coala, run, progress
        self._pool = POOLS[spec.pool]
        self._rewards = torch.tensor(MatrixGame.of(config.game.payoffs).payoffs, dtype=torch.float64).flatten()
        agents = needed_agents(spec, config, results)
        starts = [agent.weights[0]["logits"] for agent in agents] or self._first_logits()
        self._learners = [ExactLearner(number, logits) for number, logits in enumerate(starts, start=1)]
        parameters = [learner.model.logits for learner in self._learners]
        rate = self._coala.learning_rate
        self._optimizer = torch.optim.AdamW(parameters, maximize=True, lr=rate, weight_decay=WEIGHT_DECAY)

    def run_all(self) -> None:
        coala = self._coala
        done = self._restore()
        self._progress.begin(f"{self._spec.name} seed {self._spec.seed}", coala.iterations, max(done, 0), "iteration")
        torch.set_num_threads(1)
        with_curves = counted(coala.episode_iterations, coala.iterations) | {0}
        measured = {*range(0, coala.iterations, coala.measure_every), *with_curves, coala.iterations}
        started = time.perf_counter()
        for iteration in range(done + 1, coala.iterations + 1):
            if iteration:
                self._step(iteration)
                self._progress.activity(iteration, "training", 1.0)
            if iteration in measured:
                self._measure(iteration, iteration in with_curves)
                record_timings(self._run, iteration, {"update": time.perf_counter() - started})
                self._checkpoint(iteration)
                started = time.perf_counter()
        self._run.finish(final_weights(self._learners))
        self._progress.end()

    def _first_logits(self) -> list[Tensor]:
        """An agent that is to find out how to shape starts by defecting; several start anywhere, N(0, 1)."""
        if self._pool.learners == 1:
            return [torch.full((5,), DEFECTING, dtype=torch.float64)]
        numbers = range(1, self._pool.learners + 1)
        return [torch.randn(5, dtype=torch.float64, generator=self._stream("initialise", number)) for number in numbers]

    def _stream(self, *names: str | int) -> torch.Generator:
        return stream(self._spec.seed, "exact", *names)

    def _metas(self) -> Tensor:
        return torch.stack([learner.model.logits.detach() for learner in self._learners])

    def _naive(self, *purpose: str | int) -> Tensor:
        """Fresh naive learners for each meta agent, N(0, 1), [agents, learners, 5]."""
        sizes = len(self._learners), self._coala.meta_batch, 5
        return torch.randn(sizes, dtype=torch.float64, generator=self._stream("naive", *purpose))

    def _naive_share(self) -> float:
        kinds = self._pool.opponents
        return self._coala.naive_share if len(kinds) > 1 else float("naive" in kinds)

    def _step(self, iteration: int) -> None:
        coala, share = self._coala, self._naive_share()
        naive = self._naive("training", iteration)
        settings = self._rewards, coala.discount, coala.naive_learning_rate, coala.inner_episodes, share
        ascent = exact.meta_gradient(self._metas(), naive, *settings)
        for learner, gradient in zip(self._learners, ascent, strict=True):
            learner.model.logits.grad = gradient
        self._optimizer.step()

    # Measuring ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _measure(self, iteration: int, with_curves: bool) -> None:
        coala, metas = self._coala, self._metas()
        naive = self._naive("measuring", iteration)
        settings = self._rewards, coala.discount, coala.naive_learning_rate, coala.inner_episodes
        visits = {"naive": exact.shape(metas, naive, *settings)}
        if len(metas) > 1:
            visits["learner"] = exact.play(metas, metas.flip(0), self._rewards, coala.discount).visits[:, None, None]
        self._record(iteration, visits, with_curves)
        for learner in self._learners:
            diagnose(self._run, iteration, learner.number, learner.model.chances())
        if iteration:
            self._progress.iteration(iteration, self._told(visits))

    def _record(self, iteration: int, visits: Mapping[str, Tensor], with_curves: bool) -> None:
        """Rows of the training table, and of the episodes table for the naive learners of meta agent 1."""
        for opponent, games in visits.items():
            for learner, theirs in zip(self._learners, games, strict=True):
                for player, side in (("ego", theirs), ("co", theirs[..., exact.SWAPPED])):
                    keys = {"iteration": iteration, "learner": learner.number, "opponent": opponent, "player": player}
                    self._run.record("training", [{**keys, **self._measures(side.flatten(0, 1))}])
                    if with_curves and learner.number == 1 and opponent == "naive":
                        curve = enumerate(side.unbind(1), start=1)
                        self._run.record("episodes", ({**keys, "round": t, **self._measures(game)} for t, game in curve))

    def _measures(self, visits: Tensor) -> dict[str, float]:
        """Of games, visits [games, 4] in the player's view."""
        mean = visits.mean(0)
        cooperation, reward = float(mean[:2].sum()), float(mean @ self._rewards)
        return {"cooperation_rate": cooperation, "reward": reward, "episodes": len(visits)}

    def _told(self, visits: Mapping[str, Tensor]) -> dict[str, float]:
        told = {opponent: self._measures(games.flatten(0, -2)) for opponent, games in visits.items()}
        return {
            f"{short}_{opponent}": measures[name]
            for opponent, measures in told.items()
            for short, name in (("cooperation", "cooperation_rate"), ("reward", "reward"))
        }

    # Resuming ----------------------------------------------------------------------------------------------------

    def _checkpoint(self, iteration: int) -> None:
        state = {"metas": self._metas(), "optimizer": self._optimizer.state_dict()}
        self._run.checkpoint({"iteration": iteration, **state})

    def _restore(self) -> int:
        """The iteration of the last checkpoint, with the agents as they were then; -1 where there is none."""
        state = self._run.state
        if state is None:
            return -1
        for learner, logits in zip(self._learners, state["metas"], strict=True):
            learner.model.logits.data.copy_(logits)
        self._optimizer.load_state_dict(state["optimizer"])
        return state["iteration"]
