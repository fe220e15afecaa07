"""Standard environments for other libraries: PettingZoo's for two learners, Gymnasium's against our players.

``gymnasium.make("coopctx/AgainstPool-v0", opponent=...)`` works if coopctx is installed, or after this module is imported.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from coopctx.errors import RunError

if TYPE_CHECKING:
    from coopctx.evaluation.envs.parallel import TwoLearners

AGAINST_POOL = "coopctx/AgainstPool-v0"
_HERE = "coopctx.evaluation.envs.against"


def register() -> None:
    """Register our environments with Gymnasium. Raises RunError if Gymnasium is not installed."""
    try:
        from gymnasium.envs import registration  # gymnasium itself may still be importing: it calls this as a plugin
    except ImportError as error:
        raise _missing(error) from error
    if AGAINST_POOL not in registration.registry:
        registration.register(AGAINST_POOL, entry_point=f"{_HERE}:AgainstPool", vector_entry_point=f"{_HERE}:AgainstPoolVector")


def parallel_env(**settings: Any) -> TwoLearners:
    """The repeated matrix game as a PettingZoo ``ParallelEnv``; settings: those of `TwoLearners` (game, rounds, render_mode)."""
    try:
        from coopctx.evaluation.envs.parallel import TwoLearners
    except ImportError as error:
        raise _missing(error) from error
    return TwoLearners(**settings)


def sb3_vec_env(num_envs: int, **settings: Any) -> Any:
    """`AgainstPoolVector` as a Stable-Baselines3 ``VecEnv``; settings: those of `Opposition` (opponent, rounds, game)."""
    try:
        from coopctx.evaluation.envs.sb3 import StableBaselinesGames
    except ImportError as error:
        raise RunError(f"this needs Stable-Baselines3 ({error}); in a clone: pip install '.[envs]' sb3-contrib") from error
    return StableBaselinesGames(num_envs, **settings)


def _missing(error: ImportError) -> RunError:
    return RunError(f"this needs Gymnasium and PettingZoo ({error}); in a clone: pip install '.[envs]'")


with contextlib.suppress(RunError):  # reported when an environment is made
    register()
