"""The protocol between the arena and players."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from coopctx import native
from coopctx.errors import UsageError


class Player(Protocol):
    """Plays a batch of games; every tensor's first dimension is the game.

    A player sees only the paper's history: observations and its own rewards (App. A.2). It is given the reward because a
    learner must not know the payoffs. A subclass must define `act`; the other methods have defaults.
    """

    def begin(self, games: int) -> None:
        """Forget all earlier games and prepare ``games`` new episodes."""
        return

    def identity(self) -> Tensor | None:
        """The identity that an agent with opponent ID is told, float32 [games, size] (App. A.4.1); None for a learner (z = 0)."""
        return None

    def meet(self, identity: Tensor | None) -> None:
        """Receive the co-player's identity. Agents without opponent ID ignore it."""
        return

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        """Actions, long [games], after observation codes (long) and last round's own rewards (float32, 0 at first)."""


class NativePlayer(Player, Protocol):
    """A player that samples from a policy which the native kernel can compute without it."""

    def natively(self) -> list[native.Seat]:
        """The policies and random streams that replace calls of `act`; called after `begin` and `meet`."""


def can_play_natively(player: Player) -> bool:
    """Whether the native kernel can play for ``player``, which is then a `NativePlayer`."""
    return callable(getattr(player, "natively", None)) and getattr(player, "supported", True)


def check_player_class(kind: type) -> None:
    """UsageError, naming the method that is missing, unless objects of this class are players."""
    for name in ("begin", "identity", "meet", "act"):
        if not callable(getattr(kind, name, None)):
            raise UsageError(f"a {kind.__name__} is no player: it has no method {name} (inherit from coopctx.Player)")


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
