"""The structures that cross the border between host and cell (spec/pulp.md 2.4-2.6)."""

# ruff: noqa: RUF009 - `go` declares a dataclass field, with a fresh default for every instance

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import msgspec

from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.codec import DecodeError, GoInteger

HEADER = struct.Struct("<QQI")
"""The fixed header of an envelope: call number, wall time in Unix nanoseconds, payload length."""


_ZEROS: dict[str, Callable[[], Any]] = {
    "str": str,
    "bytes": bytes,
    "strings": list,
    "map": dict,
    "bool": bool,
    "any": lambda: None,
}


def go(kind: str, *, key: str | None = None, omit_empty: bool = False) -> Any:
    """Declare a field of a `Message`.

    Args:
        kind: a `GoInteger`, or ``str``, ``bytes``, ``bool``, ``strings`` (list of str), ``map``
            (str to str) or ``any``.
        key: key on the wire, where it differs from the attribute.
        omit_empty: leave the key out while the value is empty.
    """
    return field(
        default_factory=_ZEROS.get(kind, int), metadata={"kind": kind, "key": key, "omit": omit_empty}
    )


@dataclass(slots=True)
class Message:
    """Base of the string-keyed maps that Pulp exchanges; every field has a zero value."""

    _plans: ClassVar[dict[type, tuple[_Row, ...]]] = {}

    @classmethod
    def _plan(cls) -> tuple[_Row, ...]:
        """Return how every field is written and read, in encode order."""
        plan = Message._plans.get(cls)
        if plan is None:
            plan = tuple(_row(each) for each in fields(cls))
            Message._plans[cls] = plan
        return plan

    def as_map(self) -> dict[str, Any]:
        """Return the map on the wire, integers at their Go width."""
        out: dict[str, Any] = {}
        for row in self._plan():
            value = getattr(self, row.attribute)
            if value or not row.omit:
                out[row.key] = value if row.write is None else row.write(value)
        return out

    def encode(self) -> bytes:
        """Encode the message; raises `codec.EncodeError` for numbers that do not fit."""
        return codec.encode_exactly(self.as_map())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a message leniently (spec/pulp.md 2.7).

        Raises:
            DecodeError: not a map, or a field of a type that cannot be converted.
        """
        value = codec.decode(data)
        if value is None:
            return cls()
        if not isinstance(value, dict):
            raise DecodeError(f"{cls.__name__} is a map, not a {type(value).__name__}")
        found = {}
        for row in cls._plan():
            raw = value.get(row.key)
            if raw is None:
                raw = value.get(row.binary_key)
            if raw is not None:
                found[row.attribute] = raw if type(raw) is row.plain else _coerced(raw, row.kind, row.key)
        return cls(**found)


class _Row(NamedTuple):
    """How one field is written and read.

    Attributes:
        plain: the type that is read as it is; ``None`` where a value of the right type may still need work.
        write: gives a value its form on the wire; ``None`` where that is the value itself.
    """

    attribute: str
    key: str
    binary_key: bytes
    kind: str
    omit: bool
    plain: type | None
    write: Callable[[Any], Any] | None


_PLAIN: dict[str, type] = {"str": str, "bytes": bytes}


def _row(each: Field[Any]) -> _Row:
    if each.default_factory is MISSING:
        raise TypeError(f"field {each.name} was not declared with go()")
    key, kind = each.metadata["key"] or each.name, each.metadata["kind"]
    write: Callable[[Any], Any] | None = None
    if kind in codec._PACKERS:
        write = partial(codec.integer, kind=kind)
    elif kind == "any":
        write = codec.widened
    return _Row(each.name, key, key.encode(), kind, each.metadata["omit"], _PLAIN.get(kind), write)


def _text(value: Any, key: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None:
        return ""
    raise DecodeError(f"{key} is text, not a {type(value).__name__}")


def _coerced(value: Any, kind: str, key: str) -> Any:
    """Convert a decoded value to the type of a field, as leniently as Go's decoder does."""
    match kind:
        case "any":
            return value
        case "str":
            return _text(value, key)
        case "bytes":
            if isinstance(value, str):
                return value.encode()
            if isinstance(value, bytes):
                return value
        case "bool":
            if isinstance(value, bool | int):
                return bool(value)
        case "strings":
            if isinstance(value, list):
                return [_text(item, key) for item in value]
        case "map":
            if isinstance(value, dict):
                return {_text(name, key): _text(item, key) for name, item in value.items()}
        case _:
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                return _fitted(int(value), kind)  # type: ignore[arg-type]
    raise DecodeError(f"{key} is {kind}, not a {type(value).__name__}")


def _fitted(value: int, kind: GoInteger) -> int:
    """Cut a number to the width of a Go type, as Go's conversion does."""
    if kind == "int64":
        return (value + (1 << 63)) % (1 << 64) - (1 << 63)
    return value & ((1 << int(kind.removeprefix("uint"))) - 1)


@dataclass(slots=True)
class Envelope:
    """What one `Cell.step` hands to the guest (spec/pulp.md 2.4).

    Attributes:
        call_number: starts at 0, one more per step, reset on reload.
        wall_time: Unix nanoseconds.
        payload: a MessagePack step event, or nothing for an idle tick.
    """

    call_number: int = 0
    wall_time: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the 20-byte header and the payload."""
        return HEADER.pack(self.call_number, self.wall_time, len(self.payload)) + self.payload


def step_event(kind: str, payload: bytes) -> bytes:
    """Encode a step event; ``payload`` is embedded as the MessagePack value that it is.

    Args:
        kind: such as ``http.request`` (spec/pulp.md 2.5).
        payload: one encoded MessagePack value.
    """
    return codec.encode_exactly({"kind": kind, "payload": msgspec.Raw(payload)})


@dataclass(slots=True)
class HTTPRequest(Message):
    """An inbound request as the cell sees it; headers and query keep the first value of each key."""

    id: int = go("uint64")
    method: str = go("str")
    path: str = go("str")
    params: dict[str, str] = go("map")
    query: dict[str, str] = go("map")
    headers: dict[str, str] = go("map")
    body: bytes = go("bytes")
    remote_addr: str = go("str", omit_empty=True)


@dataclass(slots=True)
class HTTPResponse(Message):
    """A cell's reply, and the result of a fetch (then with id 0)."""

    id: int = go("uint64")
    status: int = go("uint32")
    headers: dict[str, str] = go("map")
    cookies: list[str] = go("strings", omit_empty=True)
    body: bytes = go("bytes")


@dataclass(slots=True)
class HTTPFetchRequest(Message):
    """An outbound request; a blank method is GET, ``timeout`` is in nanoseconds."""

    method: str = go("str")
    url: str = go("str")
    headers: dict[str, str] = go("map")
    body: bytes = go("bytes")
    timeout: int = go("int64", omit_empty=True)


@dataclass(slots=True)
class HTTPFetchStreamHeader(Message):
    """The head of a streamed fetch."""

    id: int = go("uint64")
    status: int = go("uint32")
    headers: dict[str, str] = go("map")


@dataclass(slots=True)
class HTTPFetchChunk(Message):
    """One read of a streamed fetch."""

    bytes: bytes = go("bytes")
    eof: bool = go("bool")
    err: str = go("str", omit_empty=True)


@dataclass(slots=True)
class HTTPRespondStream(Message):
    """A reply whose body is an open fetch stream."""

    id: int = go("uint64")
    stream_id: int = go("uint64")
    status: int = go("uint32")
    headers: dict[str, str] = go("map")
    cookies: list[str] = go("strings", omit_empty=True)


@dataclass(slots=True)
class RouteRegistration(Message):
    """The request of ``http_register``."""

    method: str = go("str")
    path: str = go("str")


@dataclass(slots=True)
class ListenRequest(Message):
    """The request of ``http_listen`` (and of ``udp_listen``)."""

    addr: str = go("str")


@dataclass(slots=True)
class SSEEmitRequest(Message):
    """One server-sent event for the subscribers of a concrete path."""

    path: str = go("str")
    id: str = go("str", omit_empty=True)
    event: str = go("str", omit_empty=True)
    data: str = go("str")


@dataclass(slots=True)
class WSOpen(Message):
    """A WebSocket client connected."""

    conn_id: int = go("uint64")
    path: str = go("str")
    query: dict[str, str] = go("map")
    headers: dict[str, str] = go("map")


@dataclass(slots=True)
class WSFrame(Message):
    """A WebSocket message, in either direction; opcode 1 is text, 2 binary."""

    conn_id: int = go("uint64")
    opcode: int = go("uint8")
    payload: bytes = go("bytes")


@dataclass(slots=True)
class WSClose(Message):
    """The end of a WebSocket connection, in either direction."""

    conn_id: int = go("uint64")
    code: int = go("uint16")
    reason: str = go("str")


@dataclass(slots=True)
class UDPPacket(Message):
    """A datagram that arrived; ``received_at`` is in Unix nanoseconds."""

    socket_id: int = go("uint64")
    src_addr: str = go("str")
    payload: bytes = go("bytes")
    received_at: int = go("int64")


@dataclass(slots=True)
class OutboundFrame(Message):
    """Data from a WebSocket that the cell dialled."""

    conn_id: int = go("uint32")
    data: bytes = go("bytes")


@dataclass(slots=True)
class EntropyRequest(Message):
    """The request of ``entropy_read``."""

    n: int = go("uint32")


@dataclass(slots=True)
class EntropyReply(Message):
    """The reply of ``entropy_read``."""

    bytes: bytes = go("bytes")
