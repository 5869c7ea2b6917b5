"""A cell in the text format that passes what it is called with on to one import, and answers with the code.

The arguments of a call are the import's words (u32 each) followed by its request; the answer is the code
(u32) followed by the reply, if the import has one.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from guesthouse.engine import wat_to_wasm
from guesthouse.interfaces.pulp import codec

TEXT = """(module
  (import "pulp" "{name}" (func $import {types} (result i32)))
  (memory (export "memory") 64)
  (global $top (mut i32) (i32.const 4096))
  (func $alloc (export "pulp_alloc") (param $n i32) (result i32)
    (local $at i32)
    (if (i32.gt_u (i32.add (global.get $top) (local.get $n)) (i32.const 4000000))
      (then (global.set $top (i32.const 4096))))
    (local.set $at (global.get $top))
    (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get $n)) (i32.const 15)) (i32.const -16)))
    (local.get $at))
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param $p i32) (param $n i32) (result i32)
    (if (i32.gt_u (local.get $n) (i32.const 20))
      (then ;; keep the payloads of all events, one after the other
        (memory.copy (i32.add (i32.const 4000004) (i32.load (i32.const 4000000)))
                     (i32.add (local.get $p) (i32.const 20)) (i32.sub (local.get $n) (i32.const 20)))
        (i32.store (i32.const 4000000)
                   (i32.add (i32.load (i32.const 4000000)) (i32.sub (local.get $n) (i32.const 20))))))
    (i32.const 0))
  (func (export "pulp_shutdown") (result i32) (i32.const 0))
  (func (export "pulp_on_call")
    (param $f i32) (param $fn i32) (param $a i32) (param $an i32) (param $o i32) (param $on i32) (result i32)
    (local $reply i32) (local $code i32)
    (if (i32.eq (i32.load8_u (local.get $f)) (i32.const 0x65)) ;; "events"
      (then (i32.store (local.get $o) (i32.const 4000004))
            (i32.store (local.get $on) (i32.load (i32.const 4000000)))
            (i32.store (i32.const 4000000) (i32.const 0))
            (return (i32.const 0))))
    (i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 0))
    (local.set $code (call $import {arguments}))
    (local.set $reply (call $alloc (i32.add (i32.const 4) (i32.load (i32.const 20)))))
    (i32.store (local.get $reply) (local.get $code))
    (memory.copy (i32.add (local.get $reply) (i32.const 4)) (i32.load (i32.const 16)) (i32.load (i32.const 20)))
    (i32.store (local.get $o) (local.get $reply))
    (i32.store (local.get $on) (i32.add (i32.const 4) (i32.load (i32.const 20))))
    (i32.const 0)))"""


def forwarding(directory: Path, name: str, shape: str) -> str:
    """Write the cell and return its path.

    Args:
        directory: where.
        name: the import.
        shape: ``w`` a word of the arguments, ``q`` the rest of them as pointer and length, ``o`` the out pair.
    """
    arguments, types, words = [], [], shape.count("w")
    for number, letter in enumerate(shape):
        if letter == "w":
            arguments.append(f"(i32.load offset={4 * number} (local.get $a))")
        elif letter == "q":
            arguments.append(f"(i32.add (local.get $a) (i32.const {4 * words}))")
            arguments.append(f"(i32.sub (local.get $an) (i32.const {4 * words}))")
        else:
            arguments += ["(i32.const 16)", "(i32.const 20)"]
    types = ["(param i32)"] * len(arguments)
    path = directory / f"{name}.wasm"
    text = TEXT.format(name=name, types=" ".join(types), arguments=" ".join(arguments))
    path.write_bytes(wat_to_wasm(text))
    return str(path)


class Forwarder:
    """Calls one import through its cell."""

    def __init__(self, application: Any, cell: str) -> None:
        self.application, self.cell = application, cell

    def __call__(self, request: Any = None, *words: int) -> tuple[int, Any]:
        """Return the code, and the reply decoded; a request that is no bytes is encoded."""
        data = b"" if request is None else request if isinstance(request, bytes) else codec.encode(request)
        packed = b"".join(struct.pack("<I", word) for word in words)
        answer = self.application.runtime.cell(self.cell).call("forward", packed + data)
        code = int.from_bytes(answer[:4], "little")
        return code, codec.decode(answer[4:]) if len(answer) > 4 else None

    def events(self) -> list[Any]:
        """Return the events that the cell was stepped with since the last time."""
        import msgspec

        data = self.application.runtime.cell(self.cell).call("events", b"") or b""
        found, decoder = [], msgspec.msgpack.Decoder()
        while data:
            for length in range(1, len(data) + 1):
                try:
                    found.append(decoder.decode(data[:length]))
                except msgspec.DecodeError:
                    continue
                data = data[length:]
                break
        return found
