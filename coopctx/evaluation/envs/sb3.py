"""`AgainstPoolVector` in the vector interface of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from coopctx.evaluation.envs.against import AgainstPoolVector


class StableBaselinesGames(VecEnv):
    """``num_envs`` games at once; settings: those of `coopctx.evaluation.envs.opposition.Opposition`.

    At the end of an episode each info has its return and length under ``episode``, in the form of Stable-Baselines3's Monitor.
    """

    def __init__(self, num_envs: int, **settings: Any) -> None:
        self._games = AgainstPoolVector(num_envs, **settings)
        self._returns, self._length = np.zeros(num_envs), 0
        super().__init__(num_envs, self._games.single_observation_space, self._games.single_action_space)

    def reset(self) -> np.ndarray:
        seed = self._seeds[0]
        self._reset_seeds()
        self._returns, self._length = np.zeros(self.num_envs), 0
        return self._games.reset(seed=seed)[0]

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observations, rewards, over, _, final = self._games.step(self._actions)
        self._returns, self._length = self._returns + rewards, self._length + 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if over[0]:
            for info, seen, earned in zip(infos, final["final_obs"], self._returns, strict=True):
                info.update(terminal_observation=seen, episode={"r": float(earned), "l": self._length, "t": 0.0})
            self._returns, self._length = np.zeros(self.num_envs), 0
        return observations, rewards.astype(np.float32), over, infos

    def close(self) -> None:
        """There is nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self._games, attr_name)] * self._number(indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self._games, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        return [getattr(self._games, method_name)(*method_args, **method_kwargs)] * self._number(indices)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False] * self._number(indices)

    def _number(self, indices: int | Sequence[int] | None) -> int:
        return len(list(self._get_indices(indices)))
