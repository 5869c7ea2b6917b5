"""The global tier in the memory of this process: the default, and the model for the others."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from guesthouse.resources.state.errors import QuotaExceeded, SizeMismatch
from guesthouse.resources.state.tiers import ELEMENT_COST, VALUE_COST, first_version


@dataclass(slots=True)
class _Value:
    data: bytearray
    version: int = 0


@dataclass(slots=True)
class _Tenant:
    values: dict[bytes, _Value] = field(default_factory=dict)
    lists: dict[bytes, list[bytes]] = field(default_factory=dict)
    value_bytes: int = 0
    list_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryTier:
    """Values and lists in dictionaries, one lock per tenant; see :class:`GlobalTier`."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant] = {}

    def _tenant(self, name: str) -> _Tenant:
        found = self._tenants.get(name)
        return found if found is not None else self._tenants.setdefault(name, _Tenant())

    def size(self, tenant: str, key: bytes) -> int | None:
        """See :meth:`GlobalTier.size`."""
        value = self._tenant(tenant).values.get(key)
        return None if value is None else len(value.data)

    def read(self, tenant: str, key: bytes, size: int, offset: int, into: memoryview) -> int | None:
        """See :meth:`GlobalTier.read`."""
        room = self._tenant(tenant)
        with room.lock:
            value = room.values.get(key)
            if value is None:
                return None
            if len(value.data) != size:
                raise _other_size(tenant, key, len(value.data), size)
            with memoryview(value.data) as data:
                into[:] = data[offset : offset + len(into)]
            return value.version

    def write(
        self, tenant: str, key: bytes, size: int, runs: Iterable[tuple[int, memoryview]], quota: int
    ) -> int:
        """See :meth:`GlobalTier.write`."""
        room = self._tenant(tenant)
        with room.lock:
            value = room.values.get(key)
            held = 0 if value is None else len(value.data)
            if held not in (0, size):
                raise _other_size(tenant, key, held, size)
            more = size - held if value is not None else size + VALUE_COST
            if room.value_bytes + more > quota and more:
                raise QuotaExceeded(f"more than {quota} bytes of values", tenant=tenant, key=key)
            if value is None or held != size:
                version = first_version() if value is None else value.version
                value = room.values[key] = _Value(bytearray(size), version)
                room.value_bytes += more
            for offset, data in runs:
                value.data[offset : offset + len(data)] = data
            value.version += 1
            return value.version

    def delete(self, tenant: str, key: bytes) -> bool:
        """See :meth:`GlobalTier.delete`."""
        room = self._tenant(tenant)
        with room.lock:
            value, elements = room.values.pop(key, None), room.lists.pop(key, None)
            room.value_bytes -= len(value.data) + VALUE_COST if value else 0
            room.list_bytes -= _cost(elements or ())
            return value is not None or bool(elements)

    def append(self, tenant: str, key: bytes, element: bytes, quota: int) -> None:
        """See :meth:`GlobalTier.append`."""
        room = self._tenant(tenant)
        with room.lock:
            if room.list_bytes + len(element) + ELEMENT_COST > quota:
                raise QuotaExceeded(f"more than {quota} bytes in lists", tenant=tenant, key=key)
            room.lists.setdefault(key, []).append(element)
            room.list_bytes += len(element) + ELEMENT_COST

    def appended(self, tenant: str, key: bytes, count: int | None) -> list[bytes]:
        """See :meth:`GlobalTier.appended`."""
        return self._tenant(tenant).lists.get(key, [])[:count]

    def clear(self, tenant: str, key: bytes) -> None:
        """See :meth:`GlobalTier.clear`."""
        room = self._tenant(tenant)
        with room.lock:
            room.list_bytes -= _cost(room.lists.pop(key, ()))

    def keys(self, tenant: str) -> list[bytes]:
        """See :meth:`GlobalTier.keys`."""
        room = self._tenant(tenant)
        with room.lock:
            return sorted(room.values)

    def close(self) -> None:
        """See :meth:`GlobalTier.close`."""
        self._tenants.clear()


def _cost(elements: Iterable[bytes]) -> int:
    return sum(len(element) + ELEMENT_COST for element in elements)


def _other_size(tenant: str, key: bytes, held: int, size: int) -> SizeMismatch:
    return SizeMismatch(
        f"the global value has {held} bytes, not {size}; delete it first", tenant=tenant, key=key
    )
