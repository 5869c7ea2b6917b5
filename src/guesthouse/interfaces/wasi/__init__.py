"""WASI preview 1, served natively: one descriptor table for everything, no GIL on the data paths."""

from guesthouse.interfaces.wasi.guest import WasiInterface

interface = WasiInterface()
