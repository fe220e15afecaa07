"""The games after training as tables and numbers: round by round, and in cross-play.

May import the rest of analysis and everything that it may; never agents.
"""
