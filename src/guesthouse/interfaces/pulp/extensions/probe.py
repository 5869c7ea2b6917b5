"""``effect.http.probe.v1``: one look at a destination that the operator configured (spec/pulp.md 3.11).

The guest names a destination and nothing else: address, method, time and size are the manifest's, in
``[config.http_probe.destinations.NAME]`` with ``url`` (https), ``method`` (GET or HEAD), ``timeout_ms`` and
``max_body_bytes``.  The same idempotency key always gets the same receipt.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from guesthouse.engine import HostFunction
from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp import codec, memory
from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Extension, Refused, aside, reply, take
from guesthouse.interfaces.pulp.structs import Message, go

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

VERSION = "http-probe.v1"
SECTION = "http_probe"
CONFLICT = 5
UNDELIVERED = 6
LONGEST_FIELD = 256
DEFAULT_TIMEOUT_MS, LONGEST_TIMEOUT_MS = 5_000, 30_000
DEFAULT_BODY, LARGEST_BODY = 64 << 10, 1 << 20
#: Receipts that are remembered for each cell, oldest forgotten first.
KEPT_RECEIPTS = 4096

_NAME = re.compile(r"[\w.-]+")
_KEYS = {"url", "method", "timeout_ms", "max_body_bytes"}


@dataclass(slots=True)
class Intent(Message):
    """The request: what shall be looked at, and how the guest will recognise the answer."""

    version: str = go("str")
    intent_id: str = go("str")
    idempotency_key: str = go("str")
    fence: str = go("str")
    destination: str = go("str")


@dataclass(slots=True)
class Receipt(Message):
    """The reply: the intent again, and what was seen."""

    version: str = go("str")
    intent_id: str = go("str")
    idempotency_key: str = go("str")
    fence: str = go("str")
    destination: str = go("str")
    transport: str = go("str")
    http_status: int = go("uint16")
    body_bytes: int = go("uint32")
    body_sha256: str = go("str", omit_empty=True)


@dataclass(frozen=True, slots=True)
class Destination:
    """What the operator allows to be looked at."""

    url: str
    method: str
    timeout: float
    most: int


class Prober:
    """The destinations and receipts of one cell."""

    def __init__(self, destinations: Mapping[str, Destination]) -> None:
        self._destinations = destinations
        self._lock = threading.Lock()
        self._receipts: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()

    def execute(self, intent: Intent, left: float | None) -> bytes:
        """Return the encoded receipt; a second question with the same key waits for the first answer.

        Raises:
            Refused: 4 no such destination, 5 the key was used for something else.
        """
        fingerprint = hashlib.sha256(intent.encode()).digest()
        with self._lock:
            known = self._receipts.get(intent.idempotency_key)
            if known is not None:
                if known[0] != fingerprint:
                    raise Refused(CONFLICT, "the idempotency key was used for another intent")
                return known[1]
            destination = self._destinations.get(intent.destination)
            if destination is None:
                raise Refused(memory.FAILED, f"destination {intent.destination!r} is not configured")
            receipt = Receipt(
                VERSION, intent.intent_id, intent.idempotency_key, intent.fence, intent.destination
            )
            observe(destination, receipt, left)
            wire = receipt.encode()
            self._receipts[intent.idempotency_key] = fingerprint, wire
            while len(self._receipts) > KEPT_RECEIPTS:
                self._receipts.popitem(last=False)
            return wire


def observe(destination: Destination, receipt: Receipt, left: float | None) -> None:
    """Look, and write what was seen into the receipt; redirects are seen, not followed."""
    import httpx

    timeout = destination.timeout if left is None else min(destination.timeout, left)
    digest, size, until = hashlib.sha256(), 0, time.monotonic() + timeout
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=False, trust_env=True) as client,
            client.stream(destination.method, destination.url) as answer,
        ):
            if answer.has_redirect_location:
                receipt.transport = "redirect"
                return
            for piece in answer.iter_bytes():
                digest.update(piece)
                size += len(piece)
                if size > destination.most:
                    receipt.transport = "body_too_large"
                    return
                if time.monotonic() > until:
                    receipt.transport = "timeout"
                    return
            receipt.http_status = answer.status_code
    except httpx.TimeoutException:
        receipt.transport = "timeout"
    except httpx.HTTPError:
        receipt.transport = "network"
    else:
        receipt.transport, receipt.body_bytes, receipt.body_sha256 = "observed", size, digest.hexdigest()


class HTTPProbe(Extension):
    """Looks at configured destinations for cells."""

    name = "effect.http.probe.v1"
    summary = "One look at a destination that the operator configured."

    def __init__(self) -> None:
        self._probers: dict[str, Prober] = {}

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the one import."""
        return (self.row("http_probe_execute", "iiii", self.execute, "Look at a destination by name."),)

    def attach(self, cell: Cell) -> None:
        """Read the cell's destinations; a table that is wrong fails its load."""
        self._probers.setdefault(cell.id, Prober(destinations(cell.spec.config, cell.name)))

    def release(self, cell: Cell) -> None:
        """Forget a cell's receipts."""
        self._probers.pop(cell.id, None)

    def execute(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer an intent with its receipt; 4 no such destination, 5 conflict, 6 not delivered."""
        intent = checked(take(call, pointer, length))
        prober, left = self._probers[call.cell.id], call.remaining()
        wire = aside(call, LONGEST_TIMEOUT_MS / 500, lambda: prober.execute(intent, left))
        return UNDELIVERED if reply(call, wire, pointer_out, length_out) else memory.OK


def checked(data: bytes) -> Intent:
    """Decode an intent, strictly: this is an interface with a version.

    Raises:
        DecodeError: a field is missing, unknown, blank, too long or holds control characters.
    """
    value = codec.decode(data)
    fields = {row.key for row in Intent._plan()}
    if not isinstance(value, dict) or set(value) - fields:
        raise DecodeError(f"an intent is a map of {', '.join(sorted(fields))}")
    intent = Intent.decode(data)
    if intent.version != VERSION:
        raise DecodeError(f"version is {intent.version!r}, not {VERSION!r}")
    for key in ("intent_id", "idempotency_key", "fence", "destination"):
        text = getattr(intent, key)
        if not text or text.strip() != text or len(text.encode()) > LONGEST_FIELD or not text.isprintable():
            raise DecodeError(f"{key} is a trimmed text of 1 to {LONGEST_FIELD} bytes")
    if not _NAME.fullmatch(intent.destination):
        raise DecodeError(f"{intent.destination!r} cannot name a destination")
    return intent


def destinations(config: Mapping[str, Any], cell: str) -> dict[str, Destination]:
    """Return the destinations of a cell's configuration.

    Raises:
        LoadError: the table is missing or wrong; the message names the key.
    """

    def refuse(key: str, message: str) -> LoadError:
        return LoadError(f"config.{SECTION}{key}: {message}", guest=cell)

    table = config.get(SECTION)
    if not isinstance(table, dict) or set(table) != {"destinations"}:
        raise refuse("", "effect.http.probe.v1 needs a table with `destinations` and nothing else")
    named = table["destinations"]
    if not isinstance(named, dict) or not named:
        raise refuse(".destinations", "name at least one destination")
    found = {}
    for name, given in named.items():
        key = f".destinations.{name}"
        if not _NAME.fullmatch(name) or len(name) > LONGEST_FIELD:
            raise refuse(key, "a name has letters, digits, '.', '_' and '-'")
        if not isinstance(given, dict) or set(given) - _KEYS:
            raise refuse(key, f"a destination has {', '.join(sorted(_KEYS))} and nothing else")
        found[name] = _destination(given, lambda part, message, key=key: refuse(f"{key}.{part}", message))
    return found


def _destination(given: Mapping[str, Any], refuse: Any) -> Destination:
    url, method = given.get("url"), given.get("method", "GET")
    parts = urlsplit(url.strip()) if isinstance(url, str) else None
    if parts is None or parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment:
        raise refuse("url", "an absolute https URL without credentials or fragment")
    if method not in ("GET", "HEAD"):
        raise refuse("method", "GET or HEAD")
    numbers = []
    for key, default, most in (
        ("timeout_ms", DEFAULT_TIMEOUT_MS, LONGEST_TIMEOUT_MS),
        ("max_body_bytes", DEFAULT_BODY, LARGEST_BODY),
    ):
        number = given.get(key, default)
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
            raise refuse(key, f"a number from 1 to {most}")
        numbers.append(number)
    return Destination(url.strip() if isinstance(url, str) else "", method, numbers[0] / 1000, numbers[1])
