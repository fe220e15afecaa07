"""How fast training is, against references and other implementations.

May import agents, launch (to carry out whole runs) and everything that these may import.
"""
