"""``python -m guesthouse.cli``, where the script is not on the path."""

import sys

from guesthouse.cli import main

sys.exit(main())
