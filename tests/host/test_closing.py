"""Closing a host from within: refused at once, as it would wait for the very call that asks."""

from __future__ import annotations

import threading
import time

import pytest

import guesthouse
from guesthouse.engine import wat_to_wasm
from guesthouse.errors import CallRefused

GUEST = """(module (import "test" "shut" (func $shut)) (memory (export "memory") 1)
  (func (export "run") (call $shut)) (func (export "other")))"""

#: A cell whose every step closes the host; that it imports HTTP gets it a loop of its own.
CELL = """(module (import "test" "shut" (func $shut))
  (import "pulp" "http_respond" (func (param i32 i32) (result i32))) (memory (export "memory") 1)
  (func (export "pulp_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param i32 i32) (result i32) (call $shut) (i32.const 0))
  (func (export "pulp_shutdown") (result i32) (i32.const 0)))"""


class Shut:
    """A capability that closes its host."""

    def __init__(self):
        self.host: guesthouse.Host | None = None
        self.raised: list[BaseException] = []
        self.asked = threading.Event()

        @guesthouse.host_function
        def shut(call) -> None:
            try:
                self.host.close()
            except BaseException as error:
                self.raised.append(error)
                raise
            finally:
                self.asked.set()

        self.capability = guesthouse.capability("test.shut", shut, module="test")


@pytest.fixture
def shut():
    made = Shut()
    with guesthouse.Host(registry=guesthouse.Registry().gated(made.capability), workers=1) as host:
        made.host = host
        yield made


@pytest.mark.parametrize("how", ["here", "on a worker"])
def test_a_host_function_cannot_close_the_host_that_runs_it(shut, how):
    guest = shut.host.load(wat_to_wasm(GUEST), name="g", grant=["test.shut"])
    with pytest.raises(CallRefused, match="cannot close the host") as caught:
        if how == "here":
            guest.call(entry="run")
        else:
            guest.submit(entry="run").result().unwrap()
    assert caught.value.what == "close"
    assert guest.call(entry="other") == b""  # nothing was closed


def test_nor_can_one_that_a_cell_calls_while_it_is_stepped(shut, monkeypatch):
    monkeypatch.setenv("HTTP_PORT", "0")
    shut.host.load(wat_to_wasm(CELL), name="cell", grant=["test.shut", "transport.http.inbound"])
    assert shut.asked.wait(20)
    assert {type(error) for error in shut.raised} == {CallRefused}  # it is started anew, and tries again


def test_another_host_may_be_closed(shut):
    guest = shut.host.load(wat_to_wasm(GUEST), name="g", grant=["test.shut"])
    shut.host = guesthouse.Host()
    assert guest.call(entry="run") == b""


def test_elsewhere_a_host_is_closed_while_calls_run(shut):
    with guesthouse.Host() as host:
        host.load(wat_to_wasm('(module (func (export "run") (loop (br 0))))'), name="spin")
        running = host.submit("spin", entry="run")
        time.sleep(0.05)
        host.close()
        assert running.result().error is not None
