"""Pulp's manifests: cells, sets of cells, applications and hosts (spec/pulp.md 4)."""

from .batch import boot_order, check_links, load_batch
from .cell import CellManifest

__all__ = ["CellManifest", "boot_order", "check_links", "load_batch"]
