"""Scripts to copy and change.

May import what bench may import.
"""
