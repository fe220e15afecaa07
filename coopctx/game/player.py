"""The protocol between the arena and whoever plays."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from coopctx import native
from coopctx.errors import UsageError


class Player(Protocol):
    """Plays a batch of games; every tensor's first dimension is the game.

    A player sees only what the paper's history contains: observations and its own rewards (App. A.2). The
    reward is handed over, not derived, because a learner must not know the payoffs. A class that inherits from this one
    needs `act` alone.
    """

    def begin(self, games: int) -> None:
        """Forget the past and get ready for ``games`` new episodes."""
        return

    def identity(self) -> Tensor | None:
        """What an agent with opponent ID is told of this player, float32 [games, size]; None for a learner (z = 0)."""
        return None

    def meet(self, identity: Tensor | None) -> None:
        """Hear the co-player's identity; those who are not told ignore it."""
        return

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        """Actions, long [games], after observation codes (long) and last round's own rewards (float32, 0 at first)."""


class NativePlayer(Player, Protocol):
    """A player who only samples from a policy that the native kernel can follow by itself."""

    def natively(self) -> list[native.Seat]:
        """Instead of calls of `act` after `begin` and `meet`: what decides them, with the same random numbers."""


def checked_actions(player: Player, actions: object, games: int, n_actions: int) -> Tensor:
    """``actions``, which ``player`` returned; UsageError unless they are integers from 0 to ``n_actions`` - 1, one per game."""
    wanted = f"a tensor of {games} integers from 0 to {n_actions - 1}"
    whole = isinstance(actions, Tensor) and not (actions.is_floating_point() or actions.is_complex())
    if isinstance(actions, Tensor) and whole and actions.shape == (games,):
        lowest, highest = actions.long().aminmax()
        if lowest >= 0 and highest < n_actions:
            return actions
        got = f"{int(lowest if lowest < 0 else highest)}"
    elif isinstance(actions, Tensor):
        got = f"{actions.dtype} of shape {list(actions.shape)}"
    else:
        got = type(actions).__name__
    raise UsageError(f"{type(player).__name__}.act must return {wanted}, not {got}")
