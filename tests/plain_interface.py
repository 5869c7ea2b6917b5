"""An interface made for tests of what is above interfaces: input in, output out, and every way to end."""

from __future__ import annotations

import threading

import guesthouse.host
import guesthouse.loading
from guesthouse.calls import Outcome
from guesthouse.capabilities import capability
from guesthouse.engine import wat_to_wasm
from guesthouse.errors import NotFound
from guesthouse.interfaces import GuestSide
from guesthouse.registry import Registry

GUEST = wat_to_wasm("""
(module
  (import "plain" "input" (func $input (param i32 i32) (result i32)))
  (import "plain" "output" (func $output (param i32 i32)))
  (import "plain" "fail" (func $fail))
  (import "plain" "nap" (func $nap))
  (memory (export "memory") 4)
  (func (export "run") (result i32)
    (call $output (i32.const 0) (call $input (i32.const 0) (i32.const 262144)))
    (i32.const 0))
  (func (export "seven") (result i32) (call $output (i32.const 0) (i32.const 3)) (i32.const 7))
  (func (export "spin") (result i32) (loop (br 0)) unreachable)
  (func (export "trap") (result i32) unreachable)
  (func (export "boom") (result i32) (call $fail) (i32.const 0))
  (func (export "sleep") (result i32) (call $nap) (i32.const 0)))
""")

#: Set while a guest is inside `nap`, and by a test that wants it to wake up.
NAPPING, AWAKE = threading.Event(), threading.Event()


def read_input(call, pointer: int, room: int) -> int:
    data = call.input[:room]
    call.instance.write(pointer, data)
    return len(data)


def write_output(call, data: bytes) -> None:
    call.instance.set_output(data)


def fail(call) -> None:
    raise KeyError("the password is hunter2")


def nap(call) -> None:
    NAPPING.set()
    while not AWAKE.wait(0.005):
        call.check()


PLAIN = capability(
    "plain.io",
    *(
        guesthouse.host_function(name=name)(function)
        for name, function in (("input", read_input), ("output", write_output), ("fail", fail), ("nap", nap))
    ),
)


class Side(GuestSide):
    def run(self, instance, call):
        if call.entry and not instance.exports(call.entry):
            raise NotFound("entry", call.entry, guest=call.guest)
        return Outcome(instance.invoke(call.entry or "run"), instance.output)


class Plain:
    name = "plain"
    functions = PLAIN.functions
    options = ()

    def owns(self, info):
        return any(item.module == "plain" for item in info.imports)

    def attach(self, guest):
        return Side(guest)


def install(monkeypatch):
    """Make the interface the only one of every host from now on."""
    for module in (guesthouse.host, guesthouse.loading):
        monkeypatch.setattr(module, "available", lambda: (Plain(),))
    monkeypatch.setattr(guesthouse.host, "builtin_registry", lambda: Registry().gated(PLAIN))
    NAPPING.clear()
    AWAKE.clear()
