"""A trained agent against others: in our arena, in Axelrod's tournaments, against a spread of memory-one players.

May import agents, analysis and all that they may; never launch. Not named `evaluate`, which is a function: `coopctx.evaluate`.
"""
