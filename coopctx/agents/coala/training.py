"""One run of COALA-PG or a baseline: play a batch of meta-trajectories, improve on it, now and then measure and checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from coopctx import native
from coopctx.agents.coala.learner import LEARNERS, FiveLogits, MetaLearner, Update
from coopctx.agents.coala.meta_games import Layout, MetaPlayer, play
from coopctx.agents.coala.naive import NaiveLearners, naive_learners
from coopctx.agents.record import (
    Match,
    counted,
    diagnose,
    final_weights,
    record_averages,
    record_curves,
    record_timings,
    summary,
)
from coopctx.errors import UsageError
from coopctx.experiments.pools import POOLS, RunSpec
from coopctx.experiments.settings import CoalaConfig, Config
from coopctx.game.episodes import Episodes
from coopctx.game.matrix import MatrixGame
from coopctx.game.streams import stream
from coopctx.game.threads import thread_pool
from coopctx.runs.progress import Progress
from coopctx.runs.run import Run

Games = tuple[Episodes, Episodes]  # a meta agent's meta-trajectories, from its own side and from its co-players'


def layout(coala: CoalaConfig, opponents: Sequence[str]) -> Layout:
    """How the settings share out a meta agent's co-players among the kinds of its pool, ``learner`` and ``naive``.

    UsageError where the others are too many for each to be met.
    """
    agents = coala.meta_agents if "learner" in opponents else 1
    share = coala.naive_share if len(opponents) > 1 else float("naive" in opponents)
    naive = round(coala.meta_batch * share)
    others = (coala.meta_batch - naive) // (agents - 1) if agents > 1 else 0
    if (agents > 1 and not others) or ("naive" in opponents and not naive):
        kinds = f"{agents - 1} other meta agents and naive learners with coala.naive_share {coala.naive_share:g}"
        raise UsageError(f"coala.meta_batch = {coala.meta_batch} is too small for {kinds}: each kind needs a co-player")
    return Layout(agents, naive, others, coala.inner_batch, coala.inner_episodes, coala.inner_rounds)


class CoalaTraining:
    """The iterations of one run.

    Iteration k in its tables is the agents after k batches (0: before the first), measured on meta-trajectories of their own:
    as many as a training batch has, against fresh naive learners, from which nobody but these learns. Rewards and cooperation
    rates are means over the whole meta-trajectory; the round of the episodes table counts from 1 to M T.
    """

    def __init__(
        self, spec: RunSpec, config: Config, run: Run, results: Path, device: torch.device, threads: int, progress: Progress
    ) -> None:
        self._spec, self._coala, self._run = spec, config.coala, run
        self._device, self._threads, self._progress = device, threads, progress
        self._pool, self._game = POOLS[spec.pool], MatrixGame.of(config.game.payoffs)
        self._layout = layout(config.coala, self._pool.opponents)
        self._learners: list[MetaLearner] = [
            LEARNERS[config.coala.policy](number, self._game, config.model, config.coala, spec.seed, device)
            for number in range(1, self._layout.agents + 1)
        ]
        self._kernel = native.kernel_for(device, config.model.hidden)
        self._updates: list[list[Update]] = []  # since the last measurement, [iteration][learner]
        self._seconds = {"play": 0.0, "update": 0.0, "measure": 0.0}

    def run_all(self) -> None:
        coala = self._coala
        done = self._restore()
        self._progress.begin(f"{self._spec.name} seed {self._spec.seed}", coala.iterations, max(done, 0), "iteration")
        torch.set_num_threads(1 if self._kernel else self._threads)
        with_curves = counted(coala.episode_iterations, coala.iterations)
        measured = {*range(0, coala.iterations, coala.measure_every), *with_curves, coala.iterations}
        with thread_pool(self._threads) as pool:
            for iteration in range(done + 1, coala.iterations + 1):
                if iteration:
                    self._iterate(iteration, pool)
                if iteration in measured:
                    self._measure(iteration, iteration in with_curves)
        self._run.finish(final_weights(self._learners))
        self._progress.end()

    def _iterate(self, iteration: int, pool: ThreadPoolExecutor) -> None:
        rounds = self._layout.episodes * self._layout.rounds
        players = [learner.player("training", iteration, rounds=rounds) for learner in self._learners]
        with self._timed("play"):
            games = play(self._game, self._layout, players, self._naive("training", iteration))

        def update(learner: MetaLearner, player: MetaPlayer, games: Games) -> Update:
            return learner.update(games[0], self._layout, player.recurrence, iteration)

        with self._timed("update"):
            each = pool.map if self._threads > 1 else map
            self._updates.append(list(each(update, self._learners, players, games)))
        self._progress.activity(iteration, "training", 1.0)

    def _naive(self, *purpose: str | int) -> list[NaiveLearners]:
        """Fresh naive learners for each meta agent; none where the pool has none."""
        if not self._layout.naive:
            return []
        streams = (stream(self._spec.seed, "naive", *purpose, learner.number) for learner in self._learners)
        return [naive_learners(self._layout.naive, self._game.n_actions, self._coala, each) for each in streams]

    # Measuring ---------------------------------------------------------------------------------------------------

    def _measure(self, iteration: int, with_curves: bool) -> None:
        with self._timed("measure"):
            players = [learner.player("measuring", iteration) for learner in self._learners]
            matches = self._matches(play(self._game, self._layout, players, self._naive("measuring", iteration)))
            record_averages(self._run, iteration, matches)
            if with_curves:
                record_curves(self._run, iteration, matches)
            self._record_updates(iteration)
        record_timings(self._run, iteration, self._seconds)
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        self._run.checkpoint({"iteration": iteration, "learners": [learner.state() for learner in self._learners]})
        if iteration:
            self._progress.iteration(iteration, summary(self._pool, matches))

    def _matches(self, games: Sequence[Games]) -> list[Match]:
        """Each meta agent's games by kind of co-player."""
        kinds = (("learner", self._layout.meta_rows), ("naive", self._layout.naive_rows))
        return [
            Match(learner.number, kind, ego[rows], co[rows])
            for kind, rows in kinds
            if kind in self._pool.opponents
            for learner, (ego, co) in zip(self._learners, games, strict=True)
        ]

    def _record_updates(self, iteration: int) -> None:
        """Means over the gradient steps since the last measurement, and a five-logit policy as it stands."""
        for learner, updates in zip(self._learners, zip(*self._updates, strict=True), strict=False):
            means = torch.stack([torch.stack(update) for update in updates]).mean(0).tolist()
            names = "loss_policy", "loss_value", "entropy", "gradient_norm"
            diagnose(self._run, iteration, learner.number, dict(zip(names, means, strict=True)))
        for learner in self._learners:
            if isinstance(learner.model, FiveLogits):
                diagnose(self._run, iteration, learner.number, learner.model.chances())
        self._updates = []

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[part] += time.perf_counter() - start

    def _restore(self) -> int:
        """The iteration of the last checkpoint, with the learners as they were then; -1 where there is none."""
        state = self._run.state
        if state is None:
            return -1
        for learner, saved in zip(self._learners, state["learners"], strict=True):
            learner.restore(saved)
        return state["iteration"]
