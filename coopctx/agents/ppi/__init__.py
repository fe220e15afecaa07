"""The PPI agent (Alg. 1), in reading order: model, planner, player, learner, training.

May import whatever agents/ may import, but no other agent's folder.
"""
