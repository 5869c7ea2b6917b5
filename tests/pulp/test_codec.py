"""MessagePack at Go's widths (spec/pulp.md 2.4, 2.6, 2.7)."""

from __future__ import annotations

import datetime as dt
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.interfaces.pulp import codec, structs

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.integers(-(1 << 63), (1 << 64) - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(plain)
def test_whatever_is_encoded_decodes_to_itself(value: object) -> None:
    assert codec.decode(codec.encode(value)) == value


@settings(deadline=None)
@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers_are_always_nine_bytes(number: int) -> None:
    assert codec.encode(number) == b"\xd3" + struct.pack(">q", number)


def test_a_configuration_has_the_bytes_that_go_would_write() -> None:
    config = {"n": 1, "f": 2.0, "b": True, "s": "x", "l": [3], "t": {"k": b"\x01"}}
    assert codec.encode(config).hex() == (
        "86a16ed30000000000000001a166cb4000000000000000a162c3a173a178a16c91d30000000000000003a17481a16bc40101"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "d6ff5e0be100"),
        (dt.datetime(2020, 1, 1), "d6ff5e0be100"),  # noqa: DTZ001 - a zoneless time of TOML is the case
        (dt.date(2020, 1, 1), "d6ff5e0be100"),
        (dt.datetime(1970, 1, 1, microsecond=1, tzinfo=dt.UTC), "d7ff00000fa000000000"),
        (dt.date(1969, 12, 31), "c70cff00000000fffffffffffeae80"),
        (dt.time(0, 0), "c70cff00000000fffffff1868b8400"),
    ],
)
def test_times_are_timestamp_extensions(value: object, expected: str) -> None:
    assert codec.encode(value).hex() == expected


def test_what_go_cannot_express_is_refused() -> None:
    for value in (1 << 64, -(1 << 63) - 1, object(), {"a": {1, 2}}):
        with pytest.raises(codec.EncodeError):
            codec.encode(value)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\x01", b"\x01\x01", b"\xd9\xff", b"\x91" * 5000])
def test_garbage_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(codec.DecodeError):
        codec.decode(data)
    with pytest.raises(codec.DecodeError):
        structs.HTTPResponse.decode(data)


def test_struct_fields_keep_their_order_and_width() -> None:
    request = structs.HTTPRequest(id=7, method="GET", path="/", params={"a": "b"}, body=b"\x00")
    assert request.encode() == (
        b"\x87\xa2id\xcf\0\0\0\0\0\0\0\x07\xa6method\xa3GET\xa4path\xa1/\xa6params\x81\xa1a\xa1b"
        b"\xa5query\x80\xa7headers\x80\xa4body\xc4\x01\0"
    )
    frame = structs.WSFrame(conn_id=1, opcode=2, payload=b"")
    assert frame.encode() == b"\x83\xa7conn_id\xcf\0\0\0\0\0\0\0\x01\xa6opcode\xcc\x02\xa7payload\xc4\0"
    assert structs.WSClose(1, 1000, "x").encode().endswith(b"\xa4code\xcd\x03\xe8\xa6reason\xa1x")


def test_decoding_is_lenient() -> None:
    data = msgspec.msgpack.encode(
        {
            "id": 5,
            "status": 200.0,
            "headers": {"A": b"b"},
            "body": "text",
            "more": [1, {"x": None}],
            "cookies": None,
        }
    )
    reply = structs.HTTPResponse.decode(data)
    assert reply == structs.HTTPResponse(id=5, status=200, headers={"A": "b"}, body=b"text")
    assert structs.HTTPResponse.decode(b"\xc0") == structs.HTTPResponse()
    assert structs.HTTPResponse.decode(msgspec.msgpack.encode({b"id": 3})).id == 3
    assert structs.WSFrame.decode(msgspec.msgpack.encode({"opcode": 257})).opcode == 1


@pytest.mark.parametrize("value", [[1], 5, {"id": "7"}, {"headers": []}, {"body": 1}, {"cookies": [1]}])
def test_what_cannot_be_converted_is_refused(value: object) -> None:
    with pytest.raises(codec.DecodeError):
        structs.HTTPResponse.decode(msgspec.msgpack.encode(value))


def test_an_envelope_is_a_header_and_the_payload() -> None:
    payload = structs.step_event("k", b"\x01")
    assert payload == b"\x82\xa4kind\xa1k\xa7payload\x01"
    assert structs.Envelope(2, 3, payload).encode() == (
        b"\x02" + bytes(7) + b"\x03" + bytes(7) + bytes([len(payload)]) + bytes(3) + payload
    )
    assert len(structs.Envelope().encode()) == 20
