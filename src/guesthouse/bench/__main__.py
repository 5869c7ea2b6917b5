"""``python -m guesthouse.bench [--json] [--quick]``."""

import sys

from guesthouse.bench import main

main(json="--json" in sys.argv, quick="--quick" in sys.argv)
