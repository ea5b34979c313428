"""``python -m elbokit.cli``."""

import sys

from elbokit.cli import main

if __name__ == "__main__":
    sys.exit(main())
