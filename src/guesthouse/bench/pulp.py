"""Pulp cells: a step, a call to a sibling, a request over HTTP, a thousand cells; what each costs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guesthouse.bench import native
from guesthouse.bench.memory import resident
from guesthouse.engine import HostFunction, wat_to_wasm
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.cell import Cell
from guesthouse.interfaces.pulp.extension import Extension
from guesthouse.interfaces.pulp.http.server import HTTPServer, LoopThread, Receive, Scope, Send
from guesthouse.interfaces.pulp.manifest import CellManifest
from guesthouse.interfaces.pulp.runtime import Runtime
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.interfaces.pulp.structs import HEADER, Envelope, HTTPRequest, step_event
from guesthouse.pulp import standalone
from guesthouse.registry import Registry
from guesthouse.testing import guests

#: Lifecycle and allocation of all cells below: a bump allocator that frees the block it gave last.
COMMON = """
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 4096))
  (func $alloc (export "pulp_alloc") (param $n i32) (result i32)
    global.get $top
    (i32.add (i32.add (global.get $top) (local.get $n)) (i32.const 15))
    (global.set $top (i32.and (i32.const -16))))
  (func (export "pulp_free") (param $at i32) (param i32)
    (if (i32.lt_u (local.get $at) (global.get $top)) (then (global.set $top (local.get $at)))))
  (func (export "pulp_shutdown") (result i32) (i32.const 0))"""

#: Returns its arguments; "loop" calls its sibling ``b`` as often as the first four bytes say.
CALLER = f"""(module
  (import "pulp" "pulp_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  {COMMON}
  (data (i32.const 16) "b") (data (i32.const 32) "echo") (data (i32.const 48) "argument")
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_on_call") (param $name i32) (param i32) (param $args i32) (param $n i32)
      (param $out i32) (param $out_n i32) (result i32) (local $turns i32)
    (if (i32.eq (i32.load8_u (local.get $name)) (i32.const 108)) ;; 'l'
      (then
        (local.set $turns (i32.load (local.get $args)))
        (loop $more
          (if (call $call (i32.const 16) (i32.const 1) (i32.const 32) (i32.const 4)
              (i32.const 48) (i32.const 8) (i32.const 64) (i32.const 68)) (then unreachable))
          (global.set $top (i32.load (i32.const 64))) ;; the response, given back
          (br_if $more (local.tee $turns (i32.sub (local.get $turns) (i32.const 1))))))
      (else
        (i32.store (local.get $out) (call $alloc (local.get $n)))
        (i32.store (local.get $out_n) (local.get $n))
        (memory.copy (i32.load (local.get $out)) (local.get $args) (local.get $n))))
    (i32.const 0)))"""

#: Answers every request with "ok"; the id lies at a fixed place of the event and goes to one of the reply.
_SERVER = f"""(module
  (import "pulp" "http_register" (func $register (param i32 i32) (result i32)))
  (import "pulp" "http_respond" (func $respond (param i32 i32) (result i32)))
  {COMMON}
  (data (i32.const 16) "\\82\\a6method\\a3GET\\a4path\\a2/x")
  (data (i32.const 128) "\\84\\a2id\\cf________")
  (data (i32.const 141) "\\a6status\\ce\\00\\00\\00\\c8\\a7headers\\80\\a4body\\c4\\02ok")
  (func (export "pulp_init") (param i32 i32) (result i32) (call $register (i32.const 16) (i32.const 20)))
  (func (export "pulp_step") (param $at i32) (param $n i32) (result i32) (local $turns i32)
    (if (i32.le_u (local.get $n) (i32.const 60)) (then (return (i32.const 0))))
    (local.set $turns (i32.const TURNS))
    (loop $more
      (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
      (br_if $more (i32.gt_s (local.get $turns) (i32.const 0))))
    (i64.store (i32.const 133) (i64.load (i32.add (local.get $at) (i32.const 52))))
    (call $respond (i32.const 128) (i32.const 43))))"""

SERVER = _SERVER.replace("TURNS", "0")
#: The same, after some milliseconds of computing.
LABOURER = _SERVER.replace("TURNS", "12000000")

HTTP = "transport.http.inbound"
CELLS = 1000

#: What the Go cell is asked over and over; it answers with the word behind its prefix.
REQUEST = HTTPRequest(id=1, method="POST", path="/echo", body=b"x" * 64, remote_addr="127.0.0.1:1")


class Sink(Extension):
    """Inbound HTTP without a server: routes and answers are taken and forgotten."""

    name = HTTP
    summary = "HTTP without a server, for measuring."

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the two imports that an echo cell has."""
        return (
            self.row("http_register", "ii", self.take, "Route nothing."),
            self.row("http_respond", "ii", self.take, "Answer nobody."),
        )

    def take(self, call: Any, pointer: int, length: int) -> int:
        """Serve both: 0."""
        return 0


_CLIENT = """
import json, selectors, socket, sys, time
host, port, connections, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
request = b"GET /x HTTP/1.1\\r\\nHost: bench\\r\\n\\r\\n"
ready, begun, taken = selectors.DefaultSelector(), {}, []
for _ in range(connections):
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ready.register(connection, selectors.EVENT_READ)
    begun[connection] = time.perf_counter()
    connection.sendall(request)
until = time.perf_counter() + seconds
while time.perf_counter() < until:
    for key, _ in ready.select(1):
        connection = key.fileobj
        if connection.recv(4096).endswith(b"ok"):
            now = time.perf_counter()
            taken.append(now - begun[connection])
            begun[connection] = now
            connection.sendall(request)
taken.sort()
print(json.dumps([len(taken) / seconds, taken[int(len(taken) * 0.99)]]))
"""


@contextlib.contextmanager
def application(text: str, *names: str, **keys: Any) -> Iterator[tuple[Runtime, Catalogue]]:
    """Hold a runtime of cells made of one module in the text format.

    Args:
        text: the module.
        *names: the cells' names.
        **keys: keys of their manifests.
    """
    with tempfile.TemporaryDirectory() as folder:
        wasm = Path(folder, "cell.wasm")
        wasm.write_bytes(wat_to_wasm(text))
        tables = [{"name": name, "version": "1", **keys} for name in names]
        manifests = [
            CellManifest.from_table(table, Path(folder, f"{table['name']}.toml")) for table in tables
        ]
        catalogue = Catalogue()
        runtime = Runtime(
            manifests,
            catalogue.registry(),
            standalone(),
            storage_root=Path(folder),
            settings={"HTTP_PORT": "0"},
        )
        with runtime:
            yield runtime, catalogue


def idle_steps(cell: Cell) -> Callable[[int], float]:
    """Return what takes the time of `n` idle steps of a cell."""

    def spend(n: int) -> float:
        step = cell.idle_step
        begun = time.perf_counter()
        for number in range(n):
            step(number, 0)
        return time.perf_counter() - begun

    return spend


def repeated(once: Callable[[], int]) -> Callable[[int], float]:
    """Return what takes the time of doing something `n` times; it must answer 0."""

    def spend(n: int) -> float:
        code = 0
        begun = time.perf_counter()
        for _ in range(n):
            code |= once()
        spent = time.perf_counter() - begun
        if code:
            raise RuntimeError("the cell refused its step")
        return spent

    return spend


def bare_steps(cell: Cell) -> dict[str, Callable[[int], float]]:
    """Return what takes the time of the same guest code without the cell around it, in three ways.

    ``guarded``: called from Python with what guards every entry of the engine room, as a deadline that can
    end it; ``unguarded``: the engine's call alone; ``in C``: that in a loop without Python.
    """
    bare = native.Bare(cell._body.instance, HEADER.pack(0, 0, 0))
    return {"guarded": repeated(bare.guarded), "unguarded": repeated(bare.tick), "in C": bare.ticks}


@contextlib.contextmanager
def go_cell() -> Iterator[Cell]:
    """Hold the echo cell in Go, its HTTP served by :class:`Sink`.

    Raises:
        BuildError: there is no checkout to build it from, or no Go compiler.
    """
    registry = Registry().gated(Sink().capability())
    spec = CellSpec("go", guests.build("guests/pulp/goecho"), capabilities=(HTTP,))
    with Cell.load(spec, registry, surroundings=standalone()) as cell:
        cell.init()
        yield cell


def event() -> bytes:
    """Return an envelope that holds :data:`REQUEST`."""
    return Envelope(payload=step_event("http.request", REQUEST.encode())).encode()


def echo_steps(cell: Cell) -> Callable[[int], float]:
    """Return what takes the time of `n` steps that each answer a request."""
    envelope = event()

    def spend(n: int) -> float:
        step = cell.step
        begun = time.perf_counter()
        for _ in range(n):
            step(envelope)
        return time.perf_counter() - begun

    return spend


def bare_echo_steps(cell: Cell) -> dict[str, Callable[[int], float]]:
    """Return what takes the time of the same guest code: block, envelope, step, block back."""
    return {"guarded": repeated(native.Bare(cell._body.instance, event()).event)}


def sibling_calls(runtime: Runtime) -> Callable[[int], float]:
    """Return what takes the time of `n` calls from cell ``a`` to cell ``b``."""
    caller = runtime.cell("a")

    def spend(n: int) -> float:
        begun = time.perf_counter()
        caller.call("loop", n.to_bytes(4, "little"), timeout=60)
        return time.perf_counter() - begun

    return spend


def requests(url: str, connections: int, seconds: float) -> tuple[float, float]:
    """Ask a cell over HTTP from a process of its own; returns requests per second and p99 in seconds."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    command = [sys.executable, "-c", _CLIENT, host, port, str(connections), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * seconds, check=True)
    rate, tail = json.loads(done.stdout)
    return float(rate), float(tail)


@dataclass(slots=True)
class Served:
    """What a server did in its best round: requests per second, and their p99 in seconds."""

    rate: float = 0.0
    tail: float = float("inf")

    def __str__(self) -> str:
        return f"{self.rate:.0f} requests per second, p99 {self.tail * 1e3:.1f} ms"


async def _ok(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as :data:`SERVER` does, without a cell."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Hold the URLs of :data:`SERVER` in one and two instances, and of the HTTP server without a cell."""
    with contextlib.ExitStack() as held:
        urls = {}
        for instances in (1, 2):
            _, catalogue = held.enter_context(
                application(SERVER, "web", capabilities=[HTTP], instances=instances)
            )
            urls[f"{instances} instance(s)"] = catalogue.http.url
        threads = LoopThread()
        held.callback(threads.close)
        alone = HTTPServer(_ok, threads, ("127.0.0.1", 0))
        held.callback(alone.close)
        yield {**urls, "alone": alone.url}


def compete(urls: Mapping[str, str], connections: int, seconds: float, rounds: int) -> dict[str, Served]:
    """Ask several servers in turns; the best round of each counts."""
    best = {name: Served() for name in urls}
    for _ in range(rounds):
        for name, url in urls.items():
            rate, tail = requests(url, connections, seconds)
            best[name].rate, best[name].tail = max(best[name].rate, rate), min(best[name].tail, tail)
    return best


def labour(instances: int, seconds: float) -> float:
    """Return how many requests a second as many instances of :data:`LABOURER` answer eight clients."""
    with application(LABOURER, "web", capabilities=[HTTP], instances=instances) as (_, catalogue):
        return requests(catalogue.http.url, 8, seconds)[0]


def many_cells() -> tuple[float, float]:
    """Load :data:`CELLS` cells of one module; returns seconds and bytes of physical memory for each."""
    wasm = wat_to_wasm(CALLER)
    surroundings, registry = standalone(), Catalogue().registry()
    Cell.load(CellSpec("first", wasm), registry, surroundings=surroundings).close()
    before, begun = resident(), time.perf_counter()
    cells = [
        Cell.load(CellSpec(f"c{number}", wasm), registry, surroundings=surroundings)
        for number in range(CELLS)
    ]
    for cell in cells:
        cell.init()
        cell.step()
    spent, held = time.perf_counter() - begun, resident() - before
    for cell in cells:
        cell.close()
    return spent / CELLS, held / CELLS
