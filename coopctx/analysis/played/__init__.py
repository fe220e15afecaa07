"""Games that were played after training, as tables: whole games round by round, and cross-play.

May import the rest of analysis and everything that it may; never agents.
"""
