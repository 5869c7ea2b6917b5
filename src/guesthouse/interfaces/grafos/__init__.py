"""Fabric programs: leases on memory, blocks, GPUs, network and tasklets (spec fabric.md)."""

from guesthouse.interfaces.grafos.guest import Grafos

interface = Grafos()
