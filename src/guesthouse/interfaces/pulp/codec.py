"""MessagePack as Pulp's Go host writes and reads it (spec/pulp.md 2.7).

Writing: integers of a declared Go type travel at their full width (``int64`` is always ``d3`` and eight
bytes), because guests switch on the width when they decode into untyped maps.  Reading is lenient: any
width, ``str`` or ``bin`` for either, unknown keys ignored, missing keys zero.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from guesthouse.errors import Error

#: The Go integer types that appear in Pulp's structures.
GoInteger: TypeAlias = Literal["int64", "uint64", "uint32", "uint16", "uint8"]

_PACKERS: dict[str, tuple[struct.Struct, int]] = {
    "int64": (struct.Struct(">Bq"), 0xD3),
    "uint64": (struct.Struct(">BQ"), 0xCF),
    "uint32": (struct.Struct(">BI"), 0xCE),
    "uint16": (struct.Struct(">BH"), 0xCD),
    "uint8": (struct.Struct(">BB"), 0xCC),
}
_INT64, _INT64_TAG = _PACKERS["int64"]
_UINT64, _UINT64_TAG = _PACKERS["uint64"]
_EPOCH = dt.date(1970, 1, 1).toordinal()
_SECONDS_TO_YEAR_ZERO = -719_528 * 86_400

_encoder = msgspec.msgpack.Encoder(decimal_format="number")
_decoder = msgspec.msgpack.Decoder()


class DecodeError(Error):
    """The bytes are not the MessagePack value that was expected; guests get code 3 for it."""


class EncodeError(Error):
    """A value has no MessagePack form."""


def integer(value: int, kind: GoInteger) -> msgspec.Raw:
    """Encode one integer at the full width of a Go type.

    Args:
        value: the number.
        kind: the Go type that the field has in Pulp.

    Raises:
        EncodeError: the number does not fit the type.
    """
    packer, tag = _PACKERS[kind]
    try:
        return msgspec.Raw(packer.pack(tag, value))
    except struct.error:
        raise EncodeError(f"{value} does not fit {kind}") from None


def widened(value: Any) -> Any:
    """Return ``value`` with every integer in it replaced by its full-width ``int64`` form.

    Dates and times become MessagePack timestamps; those without a zone are taken as UTC.

    Raises:
        EncodeError: an integer is beyond 64 bits, or a value has no MessagePack form.
    """
    if value is None or isinstance(value, str | bytes | bool | float | msgspec.Raw):
        return value
    if isinstance(value, int):
        if -(1 << 63) <= value < (1 << 63):
            return msgspec.Raw(_INT64.pack(_INT64_TAG, value))
        return integer(value, "uint64")
    if isinstance(value, Mapping):
        return {str(key): widened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [widened(item) for item in value]
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return _timestamp(value)
    raise EncodeError(f"a {type(value).__name__} has no MessagePack form in Pulp")


def encode(value: Any) -> bytes:
    """Encode a value with Go widths: integers as ``int64``, times as ext -1 (spec/pulp.md 2.7).

    Raises:
        EncodeError: a part of the value has no MessagePack form.
    """
    return encode_exactly(widened(value))


def encode_exactly(value: Any) -> bytes:
    """Encode a value whose integers were already given their width with `integer`.

    Plain Python integers in it are written compactly, as Go's plain ``int`` is.
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise EncodeError(str(error)) from None


def decode(data: bytes) -> Any:
    """Decode one MessagePack value; timestamps become aware ``datetime`` objects.

    Raises:
        DecodeError: the bytes are no MessagePack value, or something follows it.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DecodeError(f"not a MessagePack value: {error}") from None


def _timestamp(value: dt.datetime | dt.date | dt.time) -> Any:
    """Give a TOML date or time the form that Go gives it: always one instant, as ext -1."""
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if isinstance(value, dt.date):
        return _instant((value.toordinal() - _EPOCH) * 86_400, 0)
    seconds = value.hour * 3600 + value.minute * 60 + value.second
    return _instant(_SECONDS_TO_YEAR_ZERO + seconds, value.microsecond * 1000)


def _instant(seconds: int, nanoseconds: int) -> msgspec.msgpack.Ext:
    """Build a timestamp extension in the shortest of its three forms."""
    if 0 <= seconds < 1 << 34:
        word = nanoseconds << 34 | seconds
        short = word < 1 << 32
        return msgspec.msgpack.Ext(-1, struct.pack(">I" if short else ">Q", word))
    return msgspec.msgpack.Ext(-1, struct.pack(">Iq", nanoseconds, seconds))
