"""Running jobs here or on a Ray cluster, their progress displays, and series of runs (reproduce, sweep, Steps 1 to 3).

May import agents, report and everything that these may import.
"""
