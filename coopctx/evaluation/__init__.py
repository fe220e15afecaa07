"""A trained agent against others: in our arena, in Axelrod's tournaments, against a spread of memory-one players.

May import agents, analysis and everything that these may import; never launch. `evaluate` is the function `coopctx.evaluate`.
"""
