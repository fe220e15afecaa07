"""The game without learning: payoffs, episodes, tabular players, the arena, exact values of memory-one strategies.

May import native.
"""
