"""A trained agent against others: one by one, in cross-play, against a spread of memory-one players; people and environments.

May import agents, analysis and everything that these may import; never launch. `evaluate` is the function `coopctx.evaluate`.
"""
