"""The training of one PPI run, phase after phase: fit, play, measure, checkpoint (Alg. 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coopctx.agents.beliefs import bayes_nll
from coopctx.agents.loop import Loop, Schedule
from coopctx.agents.others import TABULAR, Others
from coopctx.agents.ppi.learner import PPILearner
from coopctx.agents.ppi.model import Losses
from coopctx.agents.record import Match, diagnose, named_strategies, shares
from coopctx.agents.trained import TrainedAgent, needed_agents
from coopctx.experiments.pools import LEARNER
from coopctx.game.arena import play
from coopctx.game.episodes import Episodes
from coopctx.game.player import Player
from coopctx.game.tabular import RandomTabular, named_strategy, uniform_player


class PPITraining(Loop):
    """The phases of one PPI run: fit, play, measure, repeat. Phase 0 is pre-training on D_0."""

    def _set_up(self) -> None:
        config, device = self._config, self._device
        self._schedule = Schedule(config.ppi.phases, 1, config.measure.episode_phases, curves_at_0=self._pool.pretrained)
        self._share = max(1, self._threads // 2)  # threads per player, where two plan at the same time
        self._needed = needed_agents(self._spec, config, self._results)
        fixed_icl = None if self._pool.pretrained or not self._needed else self._needed[0]
        self._others = Others(self._spec, config, device, fixed_icl)
        self._learners: list[PPILearner] = [
            PPILearner(n, self._game, config.model, config.ppi, self._spec.seed, self._identity_size, device)
            for n in range(1, self._pool.learners + 1)
        ]
        self._collected: list[Match] = []  # in the last phase

    def _advance(self, iteration: int) -> None:
        self._fit(iteration)
        with self._timed("plan"):
            self._collected = self._collect(iteration)
        with self._timed("measure"):
            self._record_held_out(iteration, self._collected)
        for learner in self._learners:
            new = Episodes.concatenate([match.ego for match in self._collected if match.learner == learner.number])
            self._run.append(learner.number, iteration, new.packed())
            learner.data = Episodes.concatenate([learner.data, new])

    def _begin(self) -> None:
        """D_0, and models that are fitted to it or taken from other runs. Models from other runs play before any training."""
        for learner in self._learners:
            learner.data = self._initial_data(learner.number).to(self._device)
            self._run.append(learner.number, 0, learner.data.packed())
        if self._pool.pretrained:
            for learner, agent in zip(self._learners, self._needed, strict=True):
                learner.model.load_state_dict(agent.weights[0])
            self._collected = self._collect(0)
        else:
            self._fit(0)

    def _restore(self) -> int:
        """Set the learners to the last checkpoint, each with the data that it had. Returns its phase, or -1 if there is none."""
        phase = super()._restore()
        if self._run.state is not None:
            for learner in self._learners:
                learner.data = Episodes.concatenate(
                    [Episodes.unpacked(part, self._game.over) for part in self._run.appended(learner.number)]
                ).to(self._device)
        return phase

    # Fitting -----------------------------------------------------------------------------------------------------

    def _fit(self, phase: int) -> None:
        what = "fitting" if phase else "pre-training"

        def report(share: float) -> None:
            self._progress.activity(phase, what, 0.5 * share)

        def fit(learner: PPILearner) -> Losses[float]:
            return learner.fit(phase, report) if learner.number == 1 else learner.fit(phase)

        with self._timed("fit"):  # without the native kernel one after the other, since PyTorch uses all threads for one fit
            fitted = self._side_by_side(fit, self._learners) if self._kernel else list(map(fit, self._learners))
        for learner, losses in zip(self._learners, fitted, strict=True):
            diagnose(self._run, phase, learner.number, {f"loss_{name}": value for name, value in losses._asdict().items()})

    # Playing -----------------------------------------------------------------------------------------------------

    def _initial_data(self, learner: int) -> Episodes:
        """D_0 of one learner, seen from the first of its two players (`Pool.initial_data`)."""
        return Episodes.concatenate([self._initial_episodes(learner, kind) for kind in self._pool.initial_data])

    def _initial_episodes(self, learner: int, kind: str) -> Episodes:
        games = self._config.ppi.initial_episodes
        if kind == "play":
            players, side_by_side = self._earlier_players(learner), self._threads > 1
        else:
            make = RandomTabular if kind == "tabular" else uniform_player
            sizes = self._game.n_outcomes, self._game.n_actions
            first, second = (make(*sizes, self._stream("initial data", kind, learner, side)) for side in (1, 2))
            players, side_by_side = (first, second), False
        return self._play(games, players, "initial data", kind, learner, side_by_side=side_by_side)[0]

    def _earlier_players(self, learner: int) -> tuple[Player, Player]:
        """The Step-2 agent that a Step-3 learner starts from, and the Fixed-ICL that it learned to extort."""
        step_2 = self._spec.needs()[learner - 1]
        (step_1,) = step_2.needs()
        agents = self._needed[learner - 1], TrainedAgent.load(step_1.directory(self._results))
        first, second = (
            agent.player(self._stream("initial data", "play", learner, side), device=self._device, threads=self._share)
            for side, agent in enumerate(agents, start=1)
        )
        return first, second

    def _play(
        self, games: int, players: tuple[Player, Player], *purpose: str | int, **options: Any
    ) -> tuple[Episodes, Episodes]:
        sizes, chance = (self._config.game.rounds, games), self._stream("chance", *purpose)
        return play(self._game, *sizes, players, self._device, self._identity_size, chance=chance, **options)

    def _collect(self, phase: int) -> list[Match]:
        """The phase's episodes: learners against each other, then each against those that do not learn."""
        matches: list[Match] = []
        split = shares(self._config.ppi.episodes_per_phase, self._pool, self._config.pool)
        for part, (opponent, games) in enumerate(split.items()):
            report = self._reporter(phase, part)
            if opponent == LEARNER:
                matches += self._against_each_other(phase, games, report)
            else:
                matches += self._against_others(phase, opponent, games, report)
        return matches

    def _against_each_other(self, phase: int, games: int, report: Callable[[int], None]) -> list[Match]:
        first, second = (learner.player(phase, "learner", threads=self._share) for learner in self._learners)
        side_by_side = self._threads > 1
        ego, co = self._play(games, (first, second), phase, "learner", on_round=report, side_by_side=side_by_side)
        return [
            Match(1, "learner", ego, co, first.mean_divergence()),
            Match(2, "learner", co, ego, second.mean_divergence()),
        ]

    def _against_others(self, phase: int, opponent: str, games: int, report: Callable[[int], None]) -> list[Match]:
        """Episodes of each learner against fresh tabular players, or against the Fixed-ICL; learners side by side."""

        other_plans = opponent != TABULAR
        share = self._share if other_plans or len(self._learners) > 1 else self._threads

        def against(learner: PPILearner) -> Match:
            player = learner.player(phase, opponent, threads=share)
            other = self._others.player(opponent, learner.number, phase, threads=self._share)
            options: dict[str, Any] = {"on_round": report} if learner.number == 1 else {}
            options["side_by_side"] = other_plans and self._threads > 1
            ego, co = self._play(games, (player, other), phase, opponent, learner.number, **options)
            return Match(learner.number, opponent, ego, co, player.mean_divergence())

        return self._side_by_side(against, self._learners)

    def _reporter(self, phase: int, part: int) -> Callable[[int], None]:
        parts, rounds = len(self._pool.opponents), self._config.game.rounds
        return lambda done: self._progress.activity(phase, "playing", 0.5 + 0.5 * (part + done / rounds) / parts)

    # Measuring ---------------------------------------------------------------------------------------------------

    def _record_held_out(self, phase: int, matches: Sequence[Match]) -> None:
        """Losses on the new episodes, before they are trained on, and KL(pi || p) on the histories they visited.

        The loss of an exact Bayesian observer on the same episodes is recorded for comparison (`bayes_nll`).
        """
        for match in matches:
            losses = self._learners[match.learner - 1].evaluate(match.ego)
            quantities = {
                f"nll_observation_{match.opponent}": losses.observation,
                f"nll_action_{match.opponent}": losses.action,
                f"squared_error_reward_{match.opponent}": losses.reward,
                f"kl_{match.opponent}": match.divergence,
            }
            if self._game.n_actions == 2 and self._game.over is None:
                quantities[f"nll_bayes_{match.opponent}"] = bayes_nll(self._game, match.ego)
            diagnose(self._run, phase, match.learner, quantities)

    def _measure(self, iteration: int, with_curves: bool) -> list[Match]:
        """The phase's own episodes; for the curves, games of learner 1 against the named strategies too."""
        named = named_strategies(self._pool, self._game) if with_curves else ()
        return [*self._collected, *(self._against_named(iteration, name) for name in named)]

    def _against_named(self, phase: int, name: str) -> Match:
        self._progress.activity(phase, "measuring", 1.0)
        player = self._learners[0].player(phase, name, threads=self._threads)
        strategy = named_strategy(name, self._stream("named strategy", phase, name))
        ego, co = self._play(self._config.measure.episode_games, (player, strategy), phase, name)
        return Match(1, name, ego, co, player.mean_divergence())
