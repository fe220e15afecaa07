"""PettingZoo's parallel environment of the repeated matrix game: two learners, simultaneous moves."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Discrete
from pettingzoo import ParallelEnv

from coopctx.errors import UsageError
from coopctx.evaluation.envs.opposition import ANSI, Game, as_game, known_mode
from coopctx.experiments.checks import check_number
from coopctx.game.matrix import PRISONERS_DILEMMA, START

PLAYERS = ("player_0", "player_1")


class TwoLearners(ParallelEnv[str, np.int64, int]):
    """``rounds`` rounds of ``game`` (a `MatrixGame`, its name, or payoffs[own][other]) between ``player_0`` and ``player_1``.

    Each observes the code of the last round's joint action, own action first (0: nothing has been played). The reward is the
    game's payoff. Both terminate after the last round, or at a random ending. The number of the round is not observed.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "coopctx_matrix_game_v0", "render_modes": [ANSI], "is_parallelizable": True}

    def __init__(self, game: Game = PRISONERS_DILEMMA, rounds: int = 100, render_mode: str | None = None) -> None:
        check_number("rounds", rounds, 1)
        self.render_mode = known_mode(render_mode)
        self.game, self.rounds = as_game(game), rounds
        self.possible_agents = list(PLAYERS)
        self.agents: list[str] = []
        self.observation_spaces = {name: Discrete(self.game.n_observations) for name in PLAYERS}
        self.action_spaces = {name: Discrete(self.game.n_actions) for name in PLAYERS}
        self._played: list[list[int]] = []
        self._chance = np.random.default_rng()

    def observation_space(self, agent: str) -> Discrete:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Discrete:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.int64], dict[str, dict[str, Any]]]:
        """Begin a new game; returns the first observations and empty infos."""
        self.agents = list(PLAYERS)
        self._played = []
        if seed is not None:
            self._chance = np.random.default_rng(seed)
        return dict.fromkeys(PLAYERS, np.int64(START)), {name: {} for name in PLAYERS}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, np.int64], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Play a round; returns observations, rewards, terminations, truncations (never) and empty infos, by player."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        if set(actions) != set(PLAYERS) or not all(self.action_spaces[name].contains(actions[name]) for name in PLAYERS):
            highest = self.game.n_actions - 1
            raise UsageError(f"both {' and '.join(PLAYERS)} must choose an integer from 0 to {highest}, not {actions!r}")
        chosen = torch.tensor([int(actions[name]) for name in PLAYERS])
        own = self.game.played(chosen, torch.from_numpy(self._chance.random(2)))
        observations, rewards = self.game.observe(own, own.flip(0)), self.game.reward(own, own.flip(0))
        self._played.append(own.tolist())
        ended = self.game.over is not None and self._chance.random() >= self.game.continuation
        over = ended or len(self._played) == self.rounds
        if ended:
            observations = torch.full_like(own, self.game.n_observations - 1)
        self.agents = [] if over else self.agents
        return (
            dict(zip(PLAYERS, map(np.int64, observations.tolist()), strict=True)),
            dict(zip(PLAYERS, rewards.tolist(), strict=True)),
            dict.fromkeys(PLAYERS, over),
            dict.fromkeys(PLAYERS, False),
            {name: {} for name in PLAYERS},
        )

    def render(self) -> str | None:
        """Both players' actions so far, a line each, in the mode ``ansi``."""
        if self.render_mode is None:
            return None
        return "\n".join(f"{name} {' '.join(str(pair[i]) for pair in self._played)}".rstrip() for i, name in enumerate(PLAYERS))
