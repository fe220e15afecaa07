"""Runs and settings as data: settings, presets (data/*.toml), pools.

May import game and native.
"""
