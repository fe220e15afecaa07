"""Gymnasium environments against our players: one game (``coopctx/AgainstPool-v0``), or many games in parallel."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from coopctx.evaluation.envs.opposition import ANSI, Codes, Opposition, known_mode


class AgainstPool(gymnasium.Env[np.int64, np.int64]):
    """One game at a time. settings: opponent, rounds and game of `Opposition`.

    An observation is the code of the last round's joint action, own action first (0: nothing has been played). The reward is
    the game's payoff. The episode terminates after the last round. The number of the round is not observed.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [ANSI], "render_fps": 4}

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        self._games = Opposition(1, **settings)
        self.render_mode = known_mode(render_mode)
        self.observation_space = Discrete(self._games.game.n_observations)
        self.action_space = Discrete(self._games.game.n_actions)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        return self._games.begin(seed)[0], {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        observation, reward, over = self._games.play(np.asarray([action]))
        return observation[0], float(reward[0]), over, False, {}

    def render(self) -> str | None:
        """Both players' actions so far, in the mode ``ansi``."""
        return self._games.transcript() if self.render_mode else None


class AgainstPoolVector(VectorEnv[Codes, Codes, NDArray[Any]]):
    """``num_envs`` games in parallel; the opponent plays them as one batch. settings: those of `AgainstPool`.

    All games end in the same step. That step returns the first observations of the next games; the last observations are in
    the info's ``final_obs`` (Gymnasium's autoreset mode SAME_STEP).
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [ANSI], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, **settings: Any) -> None:
        self._games = Opposition(num_envs, **settings)
        self.num_envs = num_envs
        self.render_mode = known_mode(render_mode)
        self.single_observation_space = Discrete(self._games.game.n_observations)
        self.single_action_space = Discrete(self._games.game.n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Codes, dict[str, Any]]:
        super().reset(seed=seed)
        return self._games.begin(seed), {}

    def step(self, actions: Codes) -> tuple[Codes, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        observations, rewards, over = self._games.play(actions)
        infos: dict[str, Any] = {}
        if over:
            infos = {"final_obs": observations, "_final_obs": np.ones(self.num_envs, dtype=bool)}
            observations = self._games.begin(None)
        return observations, rewards, np.full(self.num_envs, over), np.zeros(self.num_envs, dtype=bool), infos

    def render(self) -> tuple[str, ...] | None:
        """Both players' actions so far in the first game, in the mode ``ansi``."""
        return (self._games.transcript(),) if self.render_mode else None
