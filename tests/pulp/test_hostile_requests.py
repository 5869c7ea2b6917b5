"""Requests that no sane cell would make: each is answered with a code of the contract, and the host goes on.

Code 99 of a capability that was declared means that something went wrong which nobody foresaw.
"""

from __future__ import annotations

import logging
import random
from dataclasses import fields

import msgspec
import pytest
from tests.pulp.conftest import Window

from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.structs import Message

#: Imports that take something else than one request, by letter: q bytes, w a number.
SHAPES = {
    "pulp_call": "qqq", "pulp_app_call_v1": "qqqqq", "http_fetch_read": "www", "http_fetch_close": "ww",
    "sse_has_subscribers": "q", "wsout_send": "wq", "wsout_close": "w", "workers_result": "w",
    "workers_cancel": "w", "workers_pending": "", "fs_write": "qqq", "sqlite_exec": "qq", "sqlite_query": "qq",
    "log_write": "wq", "process_result": "w", "process_cancel": "w", "process_pending": "", "pty_write": "wq",
    "pty_resize": "www", "pty_close": "w", "pty_alive": "w",
}  # fmt: skip
#: What would talk to the world, or take long: the tests of these capabilities have requests of their own.
LEFT_OUT = {"mdns_browse", "mdns_announce"}
SETTINGS = {
    "PULP_JWT_HS256_SECRET": "s" * 40, "PROCESS_ALLOW_BINS": "true", "DOCKER_HOST": "unix:///nowhere",
    "PULP_MAX_DISK_BYTES": "1MiB", "UDP_ALLOW": "127.0.0.1", "SHELL": "/bin/true",
}  # fmt: skip
NOWHERE = "https://localhost:9"
CONFIG = {
    "http_probe": {"destinations": {"a": {"url": NOWHERE, "timeout_ms": 100}}},
    "minecraft_profile": {"java_origin": NOWHERE, "bedrock_origin": NOWHERE},
}
NAMES = sorted({row.name for extension in Catalogue().extensions for row in extension.rows()} - LEFT_OUT)
#: Every key that any request has.
KEYS = sorted(
    {each.metadata["key"] or each.name for kind in Message.__subclasses__() for each in fields(kind)}
)
WORDS = [
    "", "a", "/", "/a/:b", "..", "../x", "\0", "a\0b", "GET", ":0", "127.0.0.1:0", "127.0.0.1:99999", "[::1]:0", "é", "\ud7ff",
    "http://127.0.0.1:9/", "ws://[::1", "file:///etc/passwd", "SELECT 1", "BEGIN", "true", "tmp*", "*" * 300, "x" * 5000,
    "0.0.0.0:0", "http.fetch", "java", "http-probe.v1", "\r\nX: y", "1e309",
]  # fmt: skip
NUMBERS = [
    0,
    1,
    -1,
    2,
    99,
    100,
    255,
    256,
    65_535,
    65_536,
    2**31,
    2**32 - 1,
    2**32,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
]
RAW = [
    b"", b"\xc1", b"\x80", b"\xc0", b"\x81", b"\x81\xa1a", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff", b"\x81\xc0\xc0", b"\x81\x01\x02", b"\x82\xa2id\x01\xa2id\x02", b"\x91" * 5000,
    b"\xd6\xff\0\0\0\0", b"\xc7\x0c\xff" + b"\xff" * 12, b"\xc7\0\x05", b"\xa5\xff\xfe\xfd\xfc\xfb", b"\x80\x80",
    b"\x81\xa4path\xa3\xff\xfe\xfd", b"\x81\xc4\x04path\xa1a", bytes(range(256)),
]  # fmt: skip


class Chance:
    """Random requests, the same for the same seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def value(self, depth: int = 0) -> object:
        pick = self._random.choice
        kind = self._random.randrange(9 if depth < 3 else 6)
        match kind:
            case 0 | 1:
                return pick(WORDS)
            case 2:
                return pick(NUMBERS)
            case 3:
                return pick([None, True, False, 0.5, -0.0, float("inf"), float("nan"), 1e308])
            case 4:
                return pick([b"", b"\0", b"\xff\xfe", b"x" * 3000])
            case 5:
                return msgspec.msgpack.Ext(pick([-1, 0, 5]), pick([b"", b"1234", b"12345678", b"\xff" * 12]))
            case 6:
                return [self.value(depth + 1) for _ in range(self._random.randrange(4))]
            case 7:
                return self.request(depth + 1)
            case _:
                return {pick(WORDS): self.value(depth + 1) for _ in range(self._random.randrange(3))}

    def request(self, depth: int = 0) -> dict:
        keys = self._random.sample(KEYS, self._random.randrange(1, 12))
        return {key: self.value(depth + 1) for key in keys}

    def bytes(self) -> bytes:
        kind = self._random.randrange(4)
        if kind == 0:
            return self._random.choice(RAW)
        if kind == 1:
            return self._random.choice(WORDS).encode()
        return msgspec.msgpack.encode(self.request() if kind == 2 else self.value())

    def arguments(self, shape: str) -> list[object]:
        return [self.bytes() if each == "q" else self._random.choice(NUMBERS) & 0xFFFFFFFF for each in shape]


@pytest.fixture(scope="module")
def cell(request, tmp_path_factory):
    """One cell that declares everything there is."""
    from guesthouse.interfaces.pulp.manifest import CellManifest
    from guesthouse.interfaces.pulp.runtime import Runtime
    from guesthouse.pulp import standalone
    from guesthouse.testing import guests

    folder = tmp_path_factory.mktemp("hostile")
    catalogue = Catalogue()
    table = {
        "name": "any", "version": "1", "wasm": str(guests.build("guests/pulp/any.c")), "config": CONFIG,
        "capabilities": [extension.name for extension in catalogue.gated], "call_timeout_ms": 20_000,
    }  # fmt: skip
    manifest = CellManifest.from_table(table, folder / "any.toml")
    settings = {"HTTP_PORT": "0", **SETTINGS}
    with Runtime(
        [manifest], catalogue.registry(), standalone(), storage_root=folder / "data", settings=settings
    ) as runtime:
        opened = Window(runtime.cell("any"))
        opened.runtime = runtime
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_every_request_is_answered_with_a_code(cell, name, caplog) -> None:
    chance = Chance(name)
    shape = SHAPES.get(name, "q")
    with caplog.at_level(logging.ERROR):
        for _ in range(150):
            arguments = chance.arguments(shape)
            code, reply = cell(name, *arguments)
            assert code != 99, (arguments, caplog.text)
            assert -1 < code < 1 << 31, arguments
            if code == 0 and reply and name not in ("fs_read", "sse_has_subscribers"):
                msgspec.msgpack.decode(reply)
    assert cell.cell.usable
    assert cell.runtime.status()[0]["restarts"] == 0
