"""Games of trained agents after training: against single opponents, in cross-play, against people, and as environments.

May import agents, analysis and everything that these may import; never launch. `evaluate` is the function `coopctx.evaluate`.
"""
