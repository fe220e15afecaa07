"""``python -m coopctx``."""

import sys

from coopctx.cli import main

if __name__ == "__main__":
    sys.exit(main())
