"""Pulp: cells that are stepped with events, call one another, and use capabilities (spec/pulp.md)."""

from guesthouse.interfaces.pulp.guest import PulpInterface

interface = PulpInterface()
