"""The guests that came by upload: whose they may replace, and how many there may be."""

from __future__ import annotations

import threading
from typing import Any

from guesthouse.errors import NotFound
from guesthouse.guest import Guest
from guesthouse.host import Host
from guesthouse.manifest import valid_name
from guesthouse.server.answers import BadRequest, Conflict

#: Uploaded guests that a gateway keeps at once.
MOST_GUESTS = 256


class NotUploaded(Conflict):
    """An upload would replace or remove a guest that the operator loaded."""

    def __init__(self, name: str) -> None:
        super().__init__(f"guest {name!r} did not come by upload and stays as it is; choose another name")


class ShelfFull(Conflict):
    """There are as many uploaded guests as there may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"there are {most} uploaded guests already; remove one first")


class Shelf:
    """Loads and unloads uploaded guests; any thread may use it.

    Args:
        host: where to.
        most: how many there may be at once.
    """

    def __init__(self, host: Host, most: int = MOST_GUESTS) -> None:
        self.host, self.most = host, most
        self._lock = threading.Lock()
        self._uploaded: set[tuple[str, str]] = set()

    def load(self, wasm: bytes, name: str, tenant: str, **options: Any) -> Guest:
        """Load a guest, in place of an earlier upload of that name.

        Args:
            wasm: the module.
            name: what it is called by.
            tenant: whose it is.
            **options: further arguments of ``host.load``.

        Raises:
            BadRequest: the name cannot name a guest.
            NotUploaded: the name is taken by a guest that the operator loaded.
            ShelfFull: there are too many already.
            LoadError: the module is refused; an earlier version stays.
        """
        if not valid_name(name):
            raise BadRequest(
                f"{name!r} cannot name a guest: no space, slash or @ in it, at most 200 characters"
            )
        key = (tenant, name)
        with self._lock:
            fresh = key not in self._uploaded
            if fresh:
                if self._loaded(key):
                    raise NotUploaded(name)
                if len(self._uploaded) >= self.most:
                    raise ShelfFull(self.most)
                self._uploaded.add(key)
        try:
            return self.host.load(wasm, name=name, tenant=tenant, replace=True, **options)
        except BaseException:
            if fresh:
                self._uploaded.discard(key)
            raise

    def unload(self, name: str, tenant: str) -> None:
        """Remove an uploaded guest.

        Raises:
            NotFound: there is no such guest.
            NotUploaded: it was loaded by the operator.
        """
        key = (tenant, name)
        with self._lock:
            if key not in self._uploaded and self._loaded(key):
                raise NotUploaded(name)
            self._uploaded.discard(key)
        self.host.unload(name, tenant=tenant)

    def _loaded(self, key: tuple[str, str]) -> bool:
        try:
            self.host.guest(key[1], tenant=key[0])
        except NotFound:
            return False
        return True
