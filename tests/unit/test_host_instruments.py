"""What a host tells its instruments."""

from __future__ import annotations

import pytest
from tests import plain_interface

import guesthouse.host
from guesthouse import Host
from guesthouse.engine import Constant, HostFunction
from guesthouse.observe import Instrument
from guesthouse.registry import Registry

ASKS_TWICE = """
(module
  (import "plain" "output" (func $output (param i32 i32)))
  (import "extra" "secret" (func $secret (result i32)))
  (memory (export "memory") 1)
  (func (export "run") (result i32) (drop (call $secret)) (call $secret)))
"""


class Recorder(Instrument):
    def __init__(self):
        self.events = []

    def module_compiled(self, sha256, size, seconds, *, cached):
        self.events.append(("compiled", size, cached))

    def guest_loaded(self, guest):
        self.events.append(("loaded", guest.name))

    def guest_closed(self, guest):
        self.events.append(("closed", guest.name))

    def call_started(self, call):
        self.events.append(("started", call.guest))

    def call_ended(self, call, result):
        self.events.append(("ended", call.guest, result.code, type(result.error).__name__))

    def function_refused(self, call, capability, function, count):
        self.events.append(("refused", capability, function, count))


@pytest.fixture
def recorder(monkeypatch):
    plain_interface.install(monkeypatch)
    denied = HostFunction("extra.secret", "extra", "secret", "", "i", Constant(0), "Secret.", Constant(99))
    registry = Registry().gated(plain_interface.PLAIN).interface("extra", [denied])
    monkeypatch.setattr(guesthouse.host, "builtin_registry", lambda: registry)
    return Recorder()


def test_a_life_from_compilation_to_the_end(recorder):
    with Host(cache=False, instruments=[recorder]) as host:
        guest = host.load(plain_interface.GUEST, name="plain", grant=["plain.io"])
        guest.invoke(b"x")
        guest.submit(b"x", entry="trap").result(10)
        host.unload("plain")
    assert recorder.events == [
        ("compiled", len(plain_interface.GUEST), False),
        ("loaded", "plain"),
        ("started", "plain"),
        ("ended", "plain", 0, "NoneType"),
        ("started", "plain"),
        ("ended", "plain", 1, "Trap"),
        ("closed", "plain"),
    ]


def test_refusals_are_told_with_their_number(recorder, tmp_path):
    path = tmp_path / "asks.wat"
    path.write_text(ASKS_TWICE)
    with Host(cache=False, instruments=[recorder]) as host:
        result = host.load(path, grant=["plain.io"]).invoke()
        assert result.code == 99
        assert result.receipt.refusals == ("extra.secret",)
    assert ("refused", "extra.secret", "extra.secret", 2) in recorder.events
