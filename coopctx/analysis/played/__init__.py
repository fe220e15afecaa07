"""What games after training come to: cross-play.

May import the rest of analysis and everything that it may; never agents.
"""
