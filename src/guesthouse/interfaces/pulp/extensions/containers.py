"""What a cell may do with containers: which are its own, what may be mounted (spec/pulp.md 3.10)."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Refused

#: Colon list of directories beneath which the source of a mount may lie; none by default.
BIND_ROOTS = "DOCKER_BIND_ROOTS"
#: ``1`` lets cells reach every container of the daemon.
SCOPE_DISABLE = "DOCKER_SCOPE_DISABLE"
#: Never mounted, whatever the roots say.
FORBIDDEN = ("/proc", "/sys", "/dev", "/boot", "/var/run/docker.sock", "/run/docker.sock")

#: The label that holds the routing id of the cell that made a container.
LABEL = "pulp.cell"

NOT_FOUND = 6
NOT_ALLOWED = 11

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_ODD = re.compile(r"[^A-Za-z0-9_.-]+")


class ContainerPolicy:
    """What the settings allow.

    Args:
        settings: see :data:`BIND_ROOTS` and :data:`SCOPE_DISABLE`.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        roots = settings.get(BIND_ROOTS, "").split(os.pathsep)
        self._roots = tuple(Path(root.strip()).resolve() for root in roots if root.strip())
        self.scoped = settings.get(SCOPE_DISABLE) != "1"

    @staticmethod
    def prefix(cell: str) -> str:
        """Return what the names of a cell's containers begin with; a daemon takes few signs in a name."""
        if _PLAIN.fullmatch(cell):
            return f"pulp-{cell}-"
        return f"pulp-{_ODD.sub('.', cell)[-40:]}-{hashlib.sha256(cell.encode()).hexdigest()[:12]}-"

    def name(self, cell: str, wanted: str) -> str:
        """Return the name for a new container."""
        prefix = self.prefix(cell)
        if not self.scoped or wanted.startswith(prefix):
            return wanted
        return prefix + (wanted or os.urandom(6).hex())

    def owns(self, cell: str, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the cell may touch a container.

        The label says whose it is: the names of a cell ``a`` and a cell ``a-b`` may begin alike.  Only
        containers that were made without one are told by their name.
        """
        if not self.scoped:
            return True
        owner = labels.get(LABEL)
        return owner == cell if owner is not None else name.lstrip("/").startswith(self.prefix(cell))

    def volumes(self, wanted: Any) -> list[str]:
        """Return the mounts for ``source:target[:mode]`` texts, or a map of source to target.

        Raises:
            Refused: with 11, a source does not lie beneath an allowed root.
            DecodeError: an entry is none of these.
        """
        entries = [f"{a}:{b}" for a, b in wanted.items()] if isinstance(wanted, dict) else wanted or []
        if not isinstance(entries, list):
            raise DecodeError("volumes is a list of source:target[:mode], or a map")
        return [self._volume(str(entry)) for entry in entries]

    def _volume(self, entry: str) -> str:
        source, _, rest = entry.partition(":")
        target, _, mode = rest.partition(":")
        if not source.startswith("/") or not posixpath.isabs(target) or mode not in ("", "ro", "rw"):
            raise DecodeError(f"volume {entry!r} is not source:target[:mode] with absolute paths")
        path = Path(source).resolve()
        inside = any(path.is_relative_to(root) for root in self._roots)
        if not inside or any(path.is_relative_to(forbidden) for forbidden in FORBIDDEN):
            raise Refused(NOT_ALLOWED, f"volume {source!r} is not beneath {BIND_ROOTS}")
        return f"{path}:{target}:{mode or 'rw'}"


def ports(wanted: Any) -> dict[str, int | None]:
    """Return port bindings for a list of {host, container, protocol, range}; host 0 picks a free port.

    Raises:
        DecodeError: an entry is something else, or a number is no port.
    """
    bindings: dict[str, int | None] = {}
    for entry in wanted or ():
        if not isinstance(entry, dict):
            raise DecodeError("ports is a list of {host, container, protocol}")
        protocol = str(entry.get("protocol") or "tcp").lower()
        inner, outer = _port(entry.get("container")), _port(entry.get("host") or 0)
        if protocol not in ("tcp", "udp", "sctp") or not inner:
            raise DecodeError(f"port {entry!r} has no container port or an unknown protocol")
        for offset in range(max(1, _port(entry.get("range") or 1))):
            bindings[f"{_port(inner + offset)}/{protocol}"] = _port(outer + offset) if outer else None
    return bindings


def _port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise DecodeError(f"{value!r} is no port")
    return value


def describe(container: Any) -> dict[str, Any]:
    """Return what cells are told about a container."""
    attributes = container.attrs
    host = attributes.get("HostConfig") or {}
    network = attributes.get("NetworkSettings") or {}
    addresses = [str(n.get("IPAddress") or "") for n in (network.get("Networks") or {}).values()]
    told: dict[str, Any] = {
        "id": container.id,
        "name": container.name,
        "status": container.status,
        "ip": next((address for address in addresses if address), network.get("IPAddress") or ""),
        "ports": {
            inner: int(bound[0]["HostPort"]) for inner, bound in (network.get("Ports") or {}).items() if bound
        },
    }
    if host.get("NanoCpus"):
        told["cpu_limit"] = host["NanoCpus"] / 1e9
    if host.get("Memory"):
        told["memory_limit"] = host["Memory"]
    return told


def usage(container: Any) -> dict[str, Any]:
    """Return a snapshot of what a container uses; counters are totals since its start.

    Raises:
        Refused: with 4, it does not run.
    """
    stats = container.stats(stream=False)
    now, before = stats.get("cpu_stats") or {}, stats.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get(
        "total_usage", 0
    )
    system = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    if "system_cpu_usage" not in now:
        raise Refused(memory.FAILED, f"{container.name} does not run")
    space = stats.get("memory_stats") or {}
    networks = (stats.get("networks") or {}).values()
    disk = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return {
        "id": container.id,
        "name": container.name,
        "cpu_percent": 100.0 * used / system * now.get("online_cpus", 1) if system > 0 else 0.0,
        "memory_usage": space.get("usage", 0),
        "memory_limit": space.get("limit", 0),
        "network_rx": sum(n.get("rx_bytes", 0) for n in networks),
        "network_tx": sum(n.get("tx_bytes", 0) for n in networks),
        "disk_read": sum(e["value"] for e in disk if e.get("op", "").lower() == "read"),
        "disk_write": sum(e["value"] for e in disk if e.get("op", "").lower() == "write"),
        "pids": (stats.get("pids_stats") or {}).get("current", 0),
    }
