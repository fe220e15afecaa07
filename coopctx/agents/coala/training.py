"""The training of one run of COALA-PG or a baseline: play a batch of meta-trajectories, update, measure at intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from coopctx import native
from coopctx.agents.coala.exact_training import ExactTraining
from coopctx.agents.coala.learner import LEARNERS, MetaLearner
from coopctx.agents.coala.meta_games import Layout, play
from coopctx.agents.coala.naive import NaiveLearners, naive_learners
from coopctx.agents.coala.player import FiveLogits, MetaPlayer
from coopctx.agents.loop import Loop, Schedule
from coopctx.agents.policy_gradient import Update, record_updates
from coopctx.agents.record import Match, diagnose
from coopctx.errors import UsageError
from coopctx.experiments.pools import EXACT, RunSpec
from coopctx.experiments.settings import CoalaConfig, Config
from coopctx.game.episodes import Episodes
from coopctx.runs.progress import Progress
from coopctx.runs.run import Run

Games = tuple[Episodes, Episodes]  # a meta agent's meta-trajectories, from its own side and from its co-players'


def layout(coala: CoalaConfig, opponents: Sequence[str]) -> Layout:
    """How the settings divide a meta agent's co-players among the kinds of its pool, ``learner`` and ``naive``.

    UsageError if the batch is too small for every kind to have a co-player.
    """
    agents = coala.meta_agents if "learner" in opponents else 1
    share = coala.naive_share if len(opponents) > 1 else float("naive" in opponents)
    naive = round(coala.meta_batch * share)
    others = (coala.meta_batch - naive) // (agents - 1) if agents > 1 else 0
    if (agents > 1 and not others) or ("naive" in opponents and not naive):
        kinds = f"{agents - 1} other meta agents and naive learners with coala.naive_share {coala.naive_share:g}"
        raise UsageError(f"coala.meta_batch = {coala.meta_batch} is too small for {kinds}: each kind needs a co-player")
    return Layout(agents, naive, others, coala.inner_batch, coala.inner_episodes, coala.inner_rounds)


def training_of(
    spec: RunSpec, config: Config, run: Run, results: Path, device: torch.device, threads: int, progress: Progress
) -> CoalaTraining | ExactTraining:
    """The training of this run, exact or sampled; UsageError for a game that neither supports."""
    if config.game.noise or config.game.continuation < 1:
        raise UsageError("coala plays inner episodes of coala.inner_rounds rounds: game.noise must be 0, game.continuation 1")
    if config.game.matrix().n_actions != 2:
        raise UsageError("coala plays games of two actions")
    kind = ExactTraining if spec.pool.startswith(EXACT) else CoalaTraining
    return kind(spec, config, run, results, device, threads, progress)


class CoalaTraining(Loop):
    """The iterations of one run.

    Each is measured on separate meta-trajectories, as many as a training batch has, against new naive learners; the meta agents
    are not updated on them. Rewards and cooperation rates are means over the whole meta-trajectory; ``round`` in the episodes
    table counts from 1 to M T.
    """

    def _set_up(self) -> None:
        self._coala = coala = self._config.coala
        self._kernel = native.kernel_for(self._device, coala.hidden)
        self._layout = layout(coala, self._pool.opponents)
        kind, numbers = LEARNERS[coala.policy], range(1, self._layout.agents + 1)
        given = self._game, self._config.model, coala, self._spec.seed
        self._learners: Sequence[MetaLearner] = [kind(number, *given) for number in numbers]
        self._schedule = Schedule(coala.iterations, coala.measure_every, coala.episode_iterations, curves_at_0=False)
        self._updates: list[list[Update]] = []  # since the last measurement, [iteration][learner]

    def _advance(self, iteration: int) -> None:
        rounds = self._layout.episodes * self._layout.rounds
        players = [learner.player("training", iteration, rounds=rounds) for learner in self._learners]
        with self._timed("play"):
            games = play(self._game, self._layout, players, self._naive("training", iteration))

        def update(learner: MetaLearner, player: MetaPlayer, games: Games) -> Update:
            return learner.update(games[0], self._layout, player.recurrence, iteration)

        with self._timed("update"):
            self._updates.append(self._side_by_side(update, self._learners, players, games))
        self._progress.activity(iteration, "training", 1.0)

    def _naive(self, *purpose: str | int) -> list[NaiveLearners]:
        """Fresh naive learners for each meta agent; none where the pool has none."""
        if not self._layout.naive:
            return []
        streams = (self._stream("naive", *purpose, learner.number) for learner in self._learners)
        return [naive_learners(self._layout.naive, self._game.n_actions, self._coala, each) for each in streams]

    def _measure(self, iteration: int, with_curves: bool) -> list[Match]:
        """Each meta agent's games by kind of co-player; what the updates since the last measurement were like.

        A five-logit policy is recorded as it stands.
        """
        record_updates(self._run, iteration, self._learners, self._updates)
        self._updates = []
        for learner in self._learners:
            if isinstance(learner.model, FiveLogits):
                diagnose(self._run, iteration, learner.number, learner.model.chances())
        players = [learner.player("measuring", iteration) for learner in self._learners]
        games = play(self._game, self._layout, players, self._naive("measuring", iteration))
        kinds = (("learner", self._layout.meta_rows), ("naive", self._layout.naive_rows))
        return [
            Match(learner.number, kind, ego[rows], co[rows])
            for kind, rows in kinds
            if kind in self._pool.opponents
            for learner, (ego, co) in zip(self._learners, games, strict=True)
        ]
