"""net_hello: which network interface a guest may count on (spec fabric.md 7 and 10)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from guesthouse.engine import Instance
from guesthouse.interfaces.grafos.side import Side
from guesthouse.resources.leases.status import BUFFER_TOO_SMALL, CAPACITY_EXCEEDED, LeaseError

_KERNEL = Path("/sys/class/net")
_LOOPBACK = 0x8  # IFF_LOOPBACK
_NEEDED = struct.Struct("<I")
_BANDWIDTH = struct.Struct("<Q")


class Link(NamedTuple):
    """A network interface and its bandwidth in bits per second."""

    name: str
    bandwidth: int


class Network:
    """The interfaces that guests may be told of.

    Args:
        pinned: offer these only, whatever their state.
        hidden: never offer these.
        speeds: bits per second of interfaces whose link speed the kernel does not tell.
        kernel: where the kernel shows its interfaces.
    """

    def __init__(
        self,
        *,
        pinned: Iterable[str] = (),
        hidden: Iterable[str] = (),
        speeds: Mapping[str, int] | None = None,
        kernel: Path = _KERNEL,
    ) -> None:
        self._pinned, self._hidden = frozenset(pinned), frozenset(hidden)
        self._speeds, self._kernel = dict(speeds or {}), kernel

    def links(self) -> list[Link]:
        """Interfaces on offer, fastest first, then by name."""
        found = []
        for folder in sorted(self._kernel.iterdir()) if self._kernel.is_dir() else ():
            name = folder.name
            if name in self._hidden or (self._pinned and name not in self._pinned):
                continue
            if name not in self._pinned and not _is_up(folder):
                continue
            bandwidth = self._speeds.get(name) or _speed(folder)
            if bandwidth:
                found.append(Link(name, bandwidth))
        return sorted(found, key=lambda link: (-link.bandwidth, link.name))

    def pick(self, minimum: int) -> Link:
        """The fastest interface.

        Raises:
            LeaseError: none has `minimum` bits per second (-4).
        """
        for link in self.links():
            if link.bandwidth >= minimum:
                return link
        raise LeaseError(CAPACITY_EXCEEDED, f"no interface with {minimum} bit/s", resource="net")


def _is_up(folder: Path) -> bool:
    """Up by the kernel's word, and no loopback."""
    try:
        flags = int((folder / "flags").read_text(), 16)
        state = (folder / "operstate").read_text().strip()
    except (OSError, ValueError):
        return False
    return bool(flags & 1) and not flags & _LOOPBACK and state in {"up", "unknown"}


def _speed(folder: Path) -> int:
    """Bits per second of the link; 0 where the kernel does not know."""
    try:
        return max(0, int((folder / "speed").read_text())) * 1_000_000
    except (OSError, ValueError):  # virtual interfaces refuse the question
        return 0


def net_hello(
    side: Side,
    instance: Instance,
    minimum: int,
    name: int,
    name_cap: int,
    out_length: int,
    out_bandwidth: int,
) -> int:
    """Tell the fastest interface's name and bandwidth."""
    side.fabric.greet("net")
    link = side.fabric.network.pick(minimum)
    text = link.name.encode()
    instance.write(out_length, _NEEDED.pack(len(text)))
    if len(text) > name_cap:
        return BUFFER_TOO_SMALL
    instance.write(name, text)
    instance.write(out_bandwidth, _BANDWIDTH.pack(link.bandwidth))
    return 0
