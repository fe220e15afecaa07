"""What is run, as data: settings, presets (data/*.toml), pools.

May import game and native.
"""
