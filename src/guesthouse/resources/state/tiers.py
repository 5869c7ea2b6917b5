"""The global tier: where pushed state lives, shared by all hosts of a cluster (faasm.md 4.1).

A backend implements :class:`GlobalTier`; one behavioural suite (``tests/resources/state``) runs against
all of them.  Names are pairs of tenant and key, never joined into one string, so that tenant ``a_b``
with key ``c`` and tenant ``a`` with key ``b_c`` are different values.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Protocol

from guesthouse.resources.state.errors import StateError


class GlobalTier(Protocol):
    """Values and lists of all tenants. All methods are safe to call from several threads."""

    def size(self, tenant: str, key: bytes) -> int | None:
        """Return the size of a value in bytes, or ``None`` when there is none."""

    def read(self, tenant: str, key: bytes, size: int, offset: int, into: memoryview) -> int | None:
        """Copy ``len(into)`` bytes from ``offset`` on, all of one version.

        Args:
            tenant: whose value.
            key: which value.
            size: the size that the caller believes the value has.
            offset: first byte.
            into: writable bytes; untouched when there is no such value.

        Returns:
            The value's version, a number above 0 that grows by one with every write; ``None`` when there is
            no value.

        Raises:
            SizeMismatch: the value has another size.
        """

    def write(
        self, tenant: str, key: bytes, size: int, runs: Iterable[tuple[int, memoryview]], quota: int
    ) -> int:
        """Write runs of bytes, all of them or none; creates the value (zeros elsewhere).

        A value of size 0 takes any size. The first write fixes the size for everybody.

        Args:
            tenant: whose value.
            key: which value.
            size: bytes of the whole value.
            runs: ``(offset, bytes)`` in ascending order, not overlapping, inside ``size``. They are
                consumed once, and only until this returns.
            quota: bytes that all values of the tenant together may have, each with :data:`VALUE_COST`
                of book-keeping.

        Returns:
            The version that this write made.

        Raises:
            SizeMismatch: the value has another size; nothing was written.
            QuotaExceeded: the tenant's values would be larger than ``quota``; nothing was written.
        """

    def delete(self, tenant: str, key: bytes) -> bool:
        """Delete a value and the list of the same key; tells whether there was either."""

    def append(self, tenant: str, key: bytes, element: bytes, quota: int) -> None:
        """Append one element to the list of a key, atomically and in order of arrival (faasm.md 4.7).

        Raises:
            QuotaExceeded: the tenant's lists would hold more than ``quota`` bytes, counting each
                element with :data:`ELEMENT_COST` bytes of book-keeping.
        """

    def appended(self, tenant: str, key: bytes, count: int | None) -> list[bytes]:
        """Return the first ``count`` elements (``None``: all), fewer when there are fewer."""

    def clear(self, tenant: str, key: bytes) -> None:
        """Empty the list of a key."""

    def keys(self, tenant: str) -> list[bytes]:
        """Return the keys of all values of a tenant, sorted."""

    def close(self) -> None:
        """Let go of files and connections; what was acknowledged stays."""


#: What opens a global tier, by URL scheme; a cluster registers its own here.
OPENERS: dict[str, Callable[[str], GlobalTier]] = {}

#: Book-keeping bytes that each element and each value count for, so that empty ones are bounded, too.
ELEMENT_COST, VALUE_COST = 64, 256


def first_version() -> int:
    """Return where the versions of a new value start: not where those of a deleted one of its name did."""
    return secrets.randbits(48)


def register_tier(scheme: str, opener: Callable[[str], GlobalTier]) -> None:
    """Let URLs of a scheme, such as ``nats``, name a global tier.

    Args:
        scheme: what stands before ``://``.
        opener: takes the whole URL and returns the tier.
    """
    OPENERS[scheme] = opener


def open_tier(url: str) -> GlobalTier:
    """Open a global tier by URL.

    Args:
        url: ``memory://`` (gone with the process), ``sqlite:///path`` (survives it; add
            ``?durability=power`` to have every push survive a power failure, too), or a URL of a scheme
            that was registered.

    Raises:
        StateError: no backend has this scheme.
    """
    from guesthouse.resources.state.memory import MemoryTier
    from guesthouse.resources.state.sqlite import SqliteTier

    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        return MemoryTier()
    if scheme == "sqlite":
        path, _, options = rest.partition("?")
        if options not in {"", "durability=power"}:
            raise StateError(f"{url!r}: there is no option {options!r}; there is: durability=power")
        # sqlite:///relative and sqlite:////absolute, as others spell it
        return SqliteTier(path.removeprefix("/"), power_safe="durability=power" in options)
    if scheme in OPENERS:
        return OPENERS[scheme](url)
    known = ", ".join(["memory://", "sqlite:///path", *(f"{name}://" for name in OPENERS)])
    raise StateError(f"no state backend for {url!r}; there are: {known}")
