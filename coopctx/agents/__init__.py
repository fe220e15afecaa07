"""Who learns: the models they share, playing, recording, and one folder per agent.

May import runs, experiments, game and native; never analysis, figures, launch or another agent's folder.
"""
