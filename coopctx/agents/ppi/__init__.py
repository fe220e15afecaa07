"""The PPI agent (Alg. 1): its planner, its player, its learner and its training.

May import whatever agents/ may import, but no other agent's folder.
"""
