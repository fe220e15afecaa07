"""Scripts to copy and change.

May import coopctx's public names and nothing else.
"""
