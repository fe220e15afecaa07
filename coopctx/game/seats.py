"""Several players that share one batch, so that their games are played together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from coopctx import native
from coopctx.game.player import NativePlayer, Player, can_play_natively


class Seats:
    """One player for the arena: each of ``seated`` (player, rows) plays ``rows`` consecutive games of the batch."""

    def __init__(self, seated: Sequence[tuple[Player, int]]) -> None:
        self._players = [player for player, _ in seated]
        self._rows = [rows for _, rows in seated]

    @property
    def supported(self) -> bool:
        """Whether the native kernel can play for all of them."""
        return all(can_play_natively(player) for player in self._players)

    def begin(self, games: int) -> None:
        if games != sum(self._rows):
            raise ValueError(f"there are seats for {sum(self._rows)} games, not {games}")
        for player, rows in zip(self._players, self._rows, strict=True):
            player.begin(rows)

    def identity(self) -> Tensor | None:
        """The players' identities, [games, size], zeros where a player has none; None where no player has one."""
        identities = [player.identity() for player in self._players]
        known = next((identity for identity in identities if identity is not None), None)
        if known is None:
            return None
        blanks = (known.new_zeros(rows, known.shape[1]) for rows in self._rows)
        return torch.cat([blank if identity is None else identity for identity, blank in zip(identities, blanks, strict=True)])

    def meet(self, identity: Tensor | None) -> None:
        parts = [None] * len(self._rows) if identity is None else identity.split(self._rows)
        for player, part in zip(self._players, parts, strict=True):
            player.meet(part)

    def act(self, observation: Tensor, reward: Tensor) -> Tensor:
        seen = zip(self._players, observation.split(self._rows), reward.split(self._rows), strict=True)
        return torch.cat([player.act(*given) for player, *given in seen])

    def natively(self) -> list[native.Seat]:
        return [seat for player in self._players for seat in cast(NativePlayer, player).natively()]
