"""What all tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Processes that tests start import the package from this checkout, too, installed or not.
_SOURCES = str(Path(__file__).parents[1] / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_SOURCES, os.environ.get("PYTHONPATH")]))

# A run in the background is born with ctrl-C ignored, and so would be every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["guesthouse.testing.plugin"]
