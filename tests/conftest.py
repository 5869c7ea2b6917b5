"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

# Processes that tests start import the package from this checkout, too, installed or not.
_SOURCES = str(Path(__file__).parents[1] / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_SOURCES, os.environ.get("PYTHONPATH")]))

pytest_plugins = ["guesthouse.testing.plugin"]
