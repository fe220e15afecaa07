"""The training of one A2C run: play a batch, take a gradient step, measure and checkpoint at intervals (App. A.3.2).

All games of an iteration are one batch, so a round is one step of each model, whatever the opponents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from coopctx.agents.a2c.learner import A2CLearner
from coopctx.agents.loop import Loop, Schedule
from coopctx.agents.others import Others
from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.policy_gradient import Update, changed, record_updates
from coopctx.agents.record import Match, named_strategies, shares
from coopctx.agents.trained import needed_agents
from coopctx.experiments.pools import LEARNER
from coopctx.game.arena import play, play_natively
from coopctx.game.episodes import Episodes
from coopctx.game.player import NativePlayer, Player, can_play_natively
from coopctx.game.seats import Seats
from coopctx.game.tabular import named_strategy


class BatchSizes(NamedTuple):
    """The games of one batch: of the two learners with each other, and of each learner with each kind that does not learn."""

    together: int
    others: dict[str, int]

    @property
    def apart(self) -> int:
        """The games of each learner with those that do not learn."""
        return sum(self.others.values())


class A2CTraining(Loop):
    """The iterations of one A2C run.

    An iteration is measured on a separate batch, of the size and composition of the first training batch. No learner is
    updated on it.
    """

    def _set_up(self) -> None:
        config, a2c, pretrained = self._config, self._config.a2c, self._pool.pretrained
        self._schedule = Schedule(a2c.iterations, a2c.measure_every, a2c.episode_iterations, curves_at_0=pretrained)
        self._learners: list[A2CLearner] = [
            A2CLearner(n, self._game, config.model, a2c, self._spec.seed, self._identity_size, self._device)
            for n in range(1, self._pool.learners + 1)
        ]
        needed = needed_agents(self._spec, config, self._results)
        self._others = Others(self._spec, config, self._device, None if pretrained or not needed else needed[0])
        for learner, agent in zip(self._learners, needed if pretrained else (), strict=False):
            learner.model.load_state_dict(agent.weights[0])
        self._updates: list[list[Update]] = []  # since the last measurement, [iteration][learner]

    def _advance(self, iteration: int) -> None:
        players = [learner.player("training", iteration, learning=True) for learner in self._learners]
        with self._timed("play"):
            sizes = self._sizes_at(iteration)
            own = self._own(self._batch(players, sizes, "training", iteration), sizes)
        kinds = [(sizes.apart, sizes.together), (sizes.together, sizes.apart)]  # of the rows of `own`
        share = max(1, self._threads // len(self._learners))

        def update(learner: A2CLearner, episodes: Episodes, kinds: tuple[int, int]) -> Update:
            return learner.update(episodes, [games for games in kinds if games], iteration, share)

        with self._timed("update"):
            self._updates.append(self._side_by_side(update, self._learners, own, kinds))
        self._progress.activity(iteration, "training", 1.0)

    # Playing -----------------------------------------------------------------------------------------------------

    def _sizes_at(self, iteration: int) -> BatchSizes:
        """The batch that the gradient step of this iteration, counted from 1, is taken on."""
        a2c = self._config.a2c
        grown = a2c.batch_growth ** changed(iteration, a2c.iterations, hold=a2c.hold)
        split = shares(round(a2c.batch_size * grown), self._pool, self._config.pool)
        return BatchSizes(split.pop(LEARNER, 0), split)

    def _batch(
        self, players: Sequence[PolicyPlayer], sizes: BatchSizes, *purpose: str | int
    ) -> tuple[Episodes, Episodes]:
        """All games of an iteration, as both seats see them. T1 and T2 are the opponents that do not learn; of two learners:

        rows            apart       together    apart
        first seat      learner 1   learner 1   T2
        second seat     T1          learner 2   learner 2
        """
        first: list[tuple[Player, int]] = [(players[0], sizes.apart + sizes.together)]
        second = self._seated(1, sizes, *purpose)
        if len(players) > 1:
            second.append((players[1], sizes.together + sizes.apart))
            first += self._seated(2, sizes, *purpose)
        return self._play(sum(rows for _, rows in first), (Seats(first), Seats(second)), *purpose)

    def _own(self, batch: tuple[Episodes, Episodes], sizes: BatchSizes) -> list[Episodes]:
        """The episodes that each learner played."""
        return [batch[0][: sizes.apart + sizes.together], batch[1][sizes.apart :]][: len(self._learners)]

    def _matches(self, batch: tuple[Episodes, Episodes], sizes: BatchSizes) -> list[Match]:
        """The same episodes by learner and kind of opponent, those between the learners first."""
        first, second = batch
        apart, together = sizes.apart, sizes.together
        middle, end = slice(apart, apart + together), slice(apart + together, None)
        matches = []
        if together:
            matches = [Match(1, "learner", first[middle], second[middle]), Match(2, "learner", second[middle], first[middle])]
        for learner in self._learners if apart else ():
            ego, co = (first[:apart], second[:apart]) if learner.number == 1 else (second[end], first[end])
            start = 0
            for opponent, games in sizes.others.items():
                part = slice(start, start + games)
                matches.append(Match(learner.number, opponent, ego[part], co[part]))
                start += games
        return matches

    def _seated(self, learner: int, sizes: BatchSizes, *purpose: str | int) -> list[tuple[Player, int]]:
        """The opponents of a learner that do not learn, and the games of each."""
        others = sizes.others.items()
        return [(self._others.player(opponent, learner, *purpose, threads=self._threads), games) for opponent, games in others]

    def _play(self, games: int, players: tuple[Player, Player], *purpose: str | int) -> tuple[Episodes, Episodes]:
        sizes = self._config.game.rounds, games
        if self._kernel is not None and not self._game.by_chance and all(map(can_play_natively, players)):
            seats = cast("tuple[NativePlayer, NativePlayer]", players)
            return play_natively(self._kernel, self._game, *sizes, seats, self._identity_size, self._threads)
        options: dict[str, Any] = {"side_by_side": self._threads > 1, "chance": self._stream("chance", *purpose)}
        return play(self._game, *sizes, players, self._device, self._identity_size, **options)

    # Measuring ---------------------------------------------------------------------------------------------------

    def _measure(self, iteration: int, with_curves: bool) -> list[Match]:
        """Games of the present policies; for the curves, games of learner 1 against the named strategies too."""
        players = [learner.player("measuring", iteration) for learner in self._learners]
        sizes = self._sizes_at(1)
        matches = self._matches(self._batch(players, sizes, "measuring", iteration), sizes)
        named = named_strategies(self._pool, self._game) if with_curves else ()
        record_updates(self._run, iteration, self._learners, self._updates)
        self._updates = []
        return [*matches, *(self._against_named(iteration, name) for name in named)]

    def _against_named(self, iteration: int, name: str) -> Match:
        player = self._learners[0].player("measuring", iteration, name)
        strategy = named_strategy(name, self._stream("named strategy", iteration, name))
        return Match(1, name, *self._play(self._config.measure.episode_games, (player, strategy), "named", iteration, name))
