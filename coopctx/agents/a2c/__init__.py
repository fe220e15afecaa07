"""The A2C agent (App. A.3.2): its player, its learner and its training.

May import whatever agents/ may import, but no other agent's folder.
"""
