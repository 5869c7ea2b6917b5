"""WASIX: threads, sockets, the message bus and processes on top of WASI, with a pluggable runtime."""

from guesthouse.interfaces.wasix.guest import WasixInterface

interface = WasixInterface()
