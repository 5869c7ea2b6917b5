"""``python -m guesthouse``: the command line, where the command itself is not on the path."""

import sys

from guesthouse.cli import main

if __name__ == "__main__":
    sys.exit(main())
