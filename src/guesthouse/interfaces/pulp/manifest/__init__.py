"""Pulp's manifests: cells, sets of cells, applications and hosts (spec/pulp.md 4)."""

from guesthouse.interfaces.pulp.manifest.application import ApplicationManifest
from guesthouse.interfaces.pulp.manifest.batch import boot_order, check_links, load_batch
from guesthouse.interfaces.pulp.manifest.cell import CellManifest
from guesthouse.interfaces.pulp.manifest.host import HostedApplication, HostManifest
from guesthouse.interfaces.pulp.manifest.placements import Placement
from guesthouse.interfaces.pulp.manifest.routing import Route

__all__ = [
    "ApplicationManifest",
    "CellManifest",
    "HostManifest",
    "HostedApplication",
    "Placement",
    "Route",
    "boot_order",
    "check_links",
    "load_batch",
]
