"""The A2C agent (App. A.3.2): its player, its learner and its training.

May import what agents may, and no other agent's folder.
"""
