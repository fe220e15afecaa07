"""The speed of planner and training, compared with PyTorch references and a JAX implementation.

May import agents, launch (to carry out whole runs) and everything that these may import.
"""
