"""The paper's runs as data, and their execution: who meets whom, what is measured when (SPEC section 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from coopctx import native
from coopctx.arena import play
from coopctx.config import Config
from coopctx.episodes import Episodes
from coopctx.errors import UsageError
from coopctx.game import MatrixGame
from coopctx.learners.ppi import PPILearner
from coopctx.players import NAMED_STRATEGIES, Player, RandomTabular, named_strategy
from coopctx.players.tabular import uniform_player
from coopctx.progress import Progress
from coopctx.store import Run
from coopctx.streams import stream


@dataclass(frozen=True)
class Pool:
    """Whom the learners of a run meet.

    learners: how many learn; against_learner, against_tabular: the co-players of their training episodes;
    initial_data: what plays D_0, ``tabular`` (random memory-one players) or ``random`` (uniform actions, App. A.4.2).
    """

    learners: int
    against_learner: bool
    against_tabular: bool
    initial_data: str


POOLS: dict[str, Pool] = {
    "mixed": Pool(learners=2, against_learner=True, against_tabular=True, initial_data="tabular"),  # Step 4, Fig. 1
    "tabular": Pool(learners=1, against_learner=False, against_tabular=True, initial_data="tabular"),  # Step 1
    "learners": Pool(learners=2, against_learner=True, against_tabular=False, initial_data="random"),  # App. A.4.2
}
AGENTS = ("ppi",)


@dataclass(frozen=True)
class RunSpec:
    """One run: an agent, a pool, an ablation, a seed and the preset its configuration began from."""

    agent: str
    pool: str
    opponent_id: bool
    seed: int
    preset: str

    def __post_init__(self) -> None:
        if self.agent not in AGENTS:
            raise UsageError(f"unknown agent {self.agent!r}; allowed: {', '.join(AGENTS)}")
        if self.pool not in POOLS:
            raise UsageError(f"unknown pool {self.pool!r}; allowed: {', '.join(POOLS)}")
        if self.opponent_id and self.pool != "mixed":
            raise UsageError(f"--opponent-id is an ablation of the mixed pool; it does not go with --pool {self.pool}")
        if self.seed < 0:
            raise UsageError(f"a seed must be an integer >= 0, not {self.seed}")

    @property
    def experiment(self) -> str:
        return self.pool

    @property
    def name(self) -> str:
        return f"{self.agent}-{self.pool}" + ("-opponent-id" if self.opponent_id else "")

    @property
    def keys(self) -> dict[str, str | bool | int]:
        """The columns that every row of the run carries, and its preset."""
        return {
            "agent": self.agent,
            "experiment": self.experiment,
            "opponent_id": self.opponent_id,
            "seed": self.seed,
            "preset": self.preset,
        }

    def directory(self, results: Path) -> Path:
        return results / self.preset / self.name / f"seed-{self.seed}"


def execute(spec: RunSpec, config: Config, run: Run, device: torch.device, threads: int, progress: Progress) -> None:
    """Train ``spec`` from where ``run`` stands to its end, recording and checkpointing every phase."""
    PPITraining(spec, config, run, device, threads, progress).run_all()


class PPITraining:
    """The phases of one PPI run: fit, play, measure, repeat."""

    def __init__(
        self, spec: RunSpec, config: Config, run: Run, device: torch.device, threads: int, progress: Progress
    ) -> None:
        self._spec, self._config, self._run = spec, config, run
        self._device, self._threads, self._progress = device, threads, progress
        self._pool = POOLS[spec.pool]
        self._game = MatrixGame.of(config.game.payoffs)
        sizes = self._game.n_observations, self._game.n_actions
        self._identity_size = sizes[0] * sizes[1] if spec.opponent_id else 0
        self._learners = [
            PPILearner(n, self._game, config.model, config.ppi, spec.seed, self._initial_data(n), device)
            for n in range(1, self._pool.learners + 1)
        ]
        self._seconds = {"fit": 0.0, "plan": 0.0, "measure": 0.0}

    def run_all(self) -> None:
        phases = self._config.ppi.phases
        done = self._restore()
        self._progress.begin(f"{self._spec.name} seed {self._spec.seed}", phases, max(done, 0))
        torch.set_num_threads(1 if self._native() else self._threads)
        if done < 0:
            self._fit(0)
            self._checkpoint(0)
            done = 0
        for phase in range(done + 1, phases + 1):
            self._phase(phase)
        self._run.finish(self._weights())
        self._progress.end()

    def _phase(self, phase: int) -> None:
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        self._fit(phase)
        with self._timed("plan"):
            collected = self._collect(phase)
        with self._timed("measure"):
            self._record_averages(phase, collected)
            self._record_held_out(phase, collected)
            if phase in self._episode_phases():
                self._record_episodes(phase, collected)
        for learner in self._learners:
            own = [match.ego for match in collected if match.learner == learner.number]
            learner.data = Episodes.concatenate([learner.data, *own])
        timings = ({"iteration": phase, "part": part, "seconds": value} for part, value in self._seconds.items())
        self._run.record("timings", timings)
        self._checkpoint(phase)
        self._progress.iteration(phase, self._summary(collected))

    # Fitting -----------------------------------------------------------------------------------------------------

    def _fit(self, phase: int) -> None:
        what = "fitting" if phase else "pre-training"

        def fit(learner: PPILearner):
            shown = learner is self._learners[0]
            report = lambda share: self._progress.activity(phase, what, 0.5 * share) if shown else None  # noqa: E731
            return learner.fit(phase, report)

        with self._timed("fit"), ThreadPoolExecutor(self._fit_threads()) as pool:
            for learner, losses in zip(self._learners, pool.map(fit, self._learners), strict=True):
                named = {f"loss_{name}": value for name, value in losses._asdict().items()}
                self._diagnose(phase, learner.number, named)

    def _fit_threads(self) -> int:
        """Learners fitted side by side: one thread each with the native kernel; PyTorch spreads one fit by itself."""
        return self._threads if self._native() else 1

    def _native(self) -> bool:
        return native.kernel_for(self._device, self._config.model.hidden) is not None

    # Playing -----------------------------------------------------------------------------------------------------

    def _initial_data(self, learner: int) -> Episodes:
        """D_0 of one learner: seen from the first of two fresh tabular, or two uniformly random, players."""
        kind = self._pool.initial_data
        sizes = self._game.n_observations, self._game.n_actions
        make = RandomTabular if kind == "tabular" else uniform_player
        players = [make(*sizes, stream(self._spec.seed, "initial data", kind, learner, side)) for side in (1, 2)]
        return self._play(self._config.ppi.initial_episodes, (players[0], players[1]))[0]

    def _play(self, games: int, players: tuple[Player, Player], **options) -> tuple[Episodes, Episodes]:
        rounds = self._config.game.rounds
        return play(self._game, rounds, games, players, self._device, self._identity_size, **options)

    def _collect(self, phase: int) -> list[Match]:
        """The phase's episodes: learners against each other, then each against fresh tabular players."""
        against_learner, against_tabular = self._shares()
        matches: list[Match] = []
        if against_learner:
            first, second = (self._player(learner, phase, "learner") for learner in self._learners)
            ego, co = self._play(against_learner, (first, second), on_round=self._reporter(phase, 0))
            matches.append(Match(1, "learner", ego, co, first.mean_divergence()))
            matches.append(Match(2, "learner", co, ego, second.mean_divergence()))
        for learner in self._learners if against_tabular else ():
            player = self._player(learner, phase, "tabular")
            tabular = RandomTabular(
                self._game.n_observations,
                self._game.n_actions,
                stream(self._spec.seed, "tabular pool", phase, learner.number),
            )
            ego, co = self._play(against_tabular, (player, tabular), on_round=self._reporter(phase, learner.number))
            matches.append(Match(learner.number, "tabular", ego, co, player.mean_divergence()))
        return matches

    def _shares(self) -> tuple[int, int]:
        """Episodes per phase and agent against the other learner and against the tabular pool."""
        episodes = self._config.ppi.episodes_per_phase
        if not self._pool.against_learner:
            return 0, episodes
        if not self._pool.against_tabular:
            return episodes, 0
        tabular = min(max(round(episodes * self._config.pool.tabular_share), 1), episodes - 1)
        return episodes - tabular, tabular

    def _player(self, learner: PPILearner, *purpose: str | int):
        return learner.player(*purpose, threads=self._threads)

    def _reporter(self, phase: int, part: int) -> Callable[[int], None]:
        parts, rounds = self._pool.learners + 1, self._config.game.rounds
        return lambda done: self._progress.activity(phase, "playing", 0.5 + 0.5 * (part + done / rounds) / parts)

    # Measuring ---------------------------------------------------------------------------------------------------

    def _record_averages(self, phase: int, matches: Sequence[Match]) -> None:
        self._run.record(
            "training",
            (
                {
                    "iteration": phase,
                    "learner": match.learner,
                    "opponent": match.opponent,
                    "player": player,
                    "cooperation_rate": episodes.cooperation_rate(),
                    "reward": episodes.reward(),
                    "episodes": len(episodes),
                }
                for match in matches
                for player, episodes in match.sides()
            ),
        )

    def _record_held_out(self, phase: int, matches: Sequence[Match]) -> None:
        """Losses on the new episodes, before they are trained on, and KL(pi || p) on the histories they visited."""
        for match in matches:
            losses = self._learners[match.learner - 1].evaluate(match.ego)
            quantities = {
                f"nll_observation_{match.opponent}": losses.observation,
                f"nll_action_{match.opponent}": losses.action,
                f"squared_error_reward_{match.opponent}": losses.reward,
                f"kl_{match.opponent}": match.divergence,
            }
            self._diagnose(phase, match.learner, quantities)

    def _record_episodes(self, phase: int, collected: Sequence[Match]) -> None:
        """Within-episode curves of learner 1: the phase's own episodes, and games against the named strategies."""
        named = [self._against_named(phase, name) for name in self._named_strategies()]
        for match in [match for match in collected if match.learner == 1] + named:
            for player, episodes in match.sides():
                curves = zip(episodes.cooperation_per_round().tolist(), episodes.reward_per_round().tolist(), strict=True)
                keys = {"iteration": phase, "learner": 1, "opponent": match.opponent, "player": player}
                self._run.record(
                    "episodes",
                    (
                        {**keys, "round": t, "cooperation_rate": rate, "reward": reward, "episodes": len(episodes)}
                        for t, (rate, reward) in enumerate(curves, start=1)
                    ),
                )

    def _against_named(self, phase: int, name: str) -> Match:
        self._progress.activity(phase, "measuring", 1.0)
        player = self._player(self._learners[0], phase, name)
        strategy = named_strategy(name, stream(self._spec.seed, "named strategy", phase, name))
        ego, co = self._play(self._config.measure.episode_games, (player, strategy))
        return Match(1, name, ego, co, player.mean_divergence())

    def _named_strategies(self) -> Sequence[str]:
        """The named strategies have two actions; a larger game is measured without them."""
        return tuple(NAMED_STRATEGIES) if self._game.n_actions == 2 else ()

    def _episode_phases(self) -> set[int]:
        phases = self._config.ppi.phases
        return {phase if phase > 0 else phases + 1 + phase for phase in self._config.measure.episode_phases}

    def _diagnose(self, phase: int, learner: int, quantities: dict[str, float]) -> None:
        rows = (
            {"iteration": phase, "learner": learner, "quantity": name, "value": value}
            for name, value in quantities.items()
        )
        self._run.record("diagnostics", rows)

    def _summary(self, matches: Sequence[Match]) -> dict[str, float]:
        """Averages over the learners, for the progress display."""
        summary = {}
        for opponent in ("learner", "tabular"):
            egos = [match.ego for match in matches if match.opponent == opponent]
            if egos:
                summary[f"cooperation_{opponent}"] = sum(ego.cooperation_rate() for ego in egos) / len(egos)
                summary[f"reward_{opponent}"] = sum(ego.reward() for ego in egos) / len(egos)
        return summary

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[part] += time.perf_counter() - start

    # Resuming ----------------------------------------------------------------------------------------------------

    def _checkpoint(self, phase: int) -> None:
        self._run.checkpoint({"phase": phase, "learners": [learner.state() for learner in self._learners]})

    def _restore(self) -> int:
        """The last completed phase, with the learners as they were then; -1 before pre-training."""
        state = self._run.state
        if state is None:
            return -1
        for learner, saved in zip(self._learners, state["learners"], strict=True):
            learner.restore(saved)
        return state["phase"]

    def _weights(self) -> dict[str, torch.Tensor]:
        return {
            f"learner{learner.number}.{name}": tensor.cpu().contiguous()
            for learner in self._learners
            for name, tensor in learner.model.state_dict().items()
        }


@dataclass(frozen=True)
class Match:
    """Games of one learner (the ego) against one kind of opponent, from both sides.

    divergence: mean KL(pi || p) of the ego on these games, nats per decision.
    """

    learner: int
    opponent: str
    ego: Episodes
    co: Episodes
    divergence: float

    def sides(self) -> tuple[tuple[str, Episodes], tuple[str, Episodes]]:
        return ("ego", self.ego), ("co", self.co)
