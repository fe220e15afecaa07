"""The PPI agent (Alg. 1): its planner, its player, its learner and its training.

May import what agents may, and no other agent's folder.
"""
