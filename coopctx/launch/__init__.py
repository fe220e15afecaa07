"""Carrying out runs: jobs on this machine or a Ray cluster, what they tell, and series of them (reproduce, sweep, Steps 1 to 3).

May import agents, report and all that they may.
"""
