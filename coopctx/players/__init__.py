"""Things that play a batch of games at once."""

from coopctx.players.base import Player
from coopctx.players.tabular import (
    NAMED_STRATEGIES,
    PAPER_STRATEGIES,
    RandomTabular,
    TabularPlayer,
    TabularSpread,
    memory_one_policy,
    named_strategy,
)

__all__ = [
    "NAMED_STRATEGIES",
    "PAPER_STRATEGIES",
    "Player",
    "RandomTabular",
    "TabularPlayer",
    "TabularSpread",
    "memory_one_policy",
    "named_strategy",
]
