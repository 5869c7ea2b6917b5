"""Pulp's manifests: cells, sets of cells, applications and hosts (spec/pulp.md 4)."""

from guesthouse.interfaces.pulp.manifest.batch import boot_order, check_links, load_batch
from guesthouse.interfaces.pulp.manifest.cell import CellManifest

__all__ = ["CellManifest", "boot_order", "check_links", "load_batch"]
