"""The command line.

May import everything; nothing imports it. A module that takes seconds to import is imported by the command that needs it.
"""

from coopctx.cli.app import main

__all__ = ["main"]
