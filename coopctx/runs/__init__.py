"""What is on disk: a run's directory, its tables and its manifest.

May import experiments and game; nothing that trains.
"""
