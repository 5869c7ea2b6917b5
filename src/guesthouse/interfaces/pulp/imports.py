"""The table of Pulp's imports (spec/pulp.md 3).

The rows belong to capabilities with state (listeners, files, connections), of which every runtime has
its own.  These here are for looking at: `guesthouse imports`, `inspect`, the reference page, the
fuzzers.  A hosted cell is linked to the rows of its host's own capabilities.
"""

from __future__ import annotations

import dataclasses

from guesthouse.interfaces.pulp.catalogue import Catalogue

_catalogue = Catalogue()

#: Every import, in the order of the capabilities; those that need no declaration have no capability.
IMPORTS = (
    *(dataclasses.replace(row, capability="", denied=None) for row in _catalogue.sibling.rows()),
    *(row for extension in _catalogue.gated for row in extension.rows()),
)
