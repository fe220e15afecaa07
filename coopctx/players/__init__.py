"""Things that play a batch of games at once."""

from coopctx.players.base import Player
from coopctx.players.tabular import NAMED_STRATEGIES, RandomTabular, TabularPlayer, named_strategy

__all__ = ["NAMED_STRATEGIES", "Player", "RandomTabular", "TabularPlayer", "named_strategy"]
