"""``python -m coopctx``."""

import sys

from coopctx.cli import main

if __name__ == "__main__":  # not in the worker processes, which import this module as well
    sys.exit(main())
