"""A record of all games from the players' side: what every player saw and did, independent of the arena's own records."""

import torch

from coopctx.agents.policy import PolicyPlayer
from coopctx.agents.ppi.player import PPIPlayer
from coopctx.game.tabular import TabularPlayer


class Witness:
    """Notes for every player, in the order in which they were made, what it saw and did: [games, rounds] each."""

    def __init__(self, patch) -> None:
        self.notes: dict[object, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for kind in (PPIPlayer, PolicyPlayer, TabularPlayer):
            patch.setattr(kind, "act", self._watched(kind.act))

    def _watched(self, act):
        def watched(player, observation, reward):
            action = act(player, observation, reward)
            self.notes.setdefault(player, []).append((observation.clone(), action.clone()))
            return action

        return watched

    def forget(self) -> None:
        self.notes.clear()

    def players_of(self, model) -> list[PPIPlayer | PolicyPlayer]:
        return [player for player in self.notes if getattr(player, "_model", None) is model]

    def played(self, player) -> tuple[torch.Tensor, torch.Tensor]:
        seen, done = zip(*self.notes[player], strict=True)
        return torch.stack(seen, 1), torch.stack(done, 1)
