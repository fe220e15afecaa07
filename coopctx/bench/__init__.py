"""How fast training is, against references and other implementations.

May import agents and all that they may, and launch to carry out whole runs.
"""
