"""The table: what is compared, in which unit, and what we set ourselves as the goal."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from guesthouse.bench import ark, faasm, fabric, gpu, memory, pulp, state, threads
from guesthouse.bench.measure import Operation, Operations, Peer, compare
from guesthouse.bench.peers import PEERS, installed
from guesthouse.engine import Engine
from guesthouse.resources.gpu import probe
from guesthouse.testing.guests import BuildError

#: What the host sets, so that threads which compute in Python do not hold up the others (seconds).
SWITCH_INTERVAL = 0.0001


@dataclass
class Row:
    """One line of the table.

    Attributes:
        title: what is measured.
        unit: ``s`` (seconds each), ``B`` (bytes each) or ``x`` (a ratio; more is better).
        values: the figure of each peer.
        goal: what ours must not exceed, or must reach where the unit is ``x``.
        ratios: fraction of a peer's figure that ours must not exceed, by peer.
        note: what one has to know to read the line.
    """

    title: str
    unit: str
    values: dict[str, float]
    goal: float | None = None
    ratios: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def ours(self) -> float:
        """Our own figure."""
        return self.values["guesthouse"]

    def misses(self) -> list[str]:
        """Say in words by how much each goal is missed; empty when all are met."""
        found = []
        if self.goal is not None:
            ratio = self.goal / self.ours if self.unit == "x" else self.ours / self.goal
            if ratio > 1:
                found.append(f"{ratio:.2f} times away from the goal")
        for peer, share in self.ratios.items():
            other = self.values.get(peer)
            if other is not None and self.ours > other * share:
                found.append(f"{self.ours / other:.2f} of {peer}, where {share:.2f} is the goal")
        return found


@dataclass(frozen=True)
class Plan:
    """A row that all peers are measured at in turns."""

    operation: str
    title: str
    goal: float | None = None
    ratios: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


PLANS = (
    Plan("native", "guest calls a native host function", 15e-9, note="the rivals offer none"),
    Plan("copy", "... that copies 512 bytes out of the guest", note="the rivals offer none"),
    Plan("python", "guest calls a Python host function", 400e-9, {"extism": 0.25}),
    Plan("enter", "Python calls a guest function", 1e-6),
    Plan("fresh", "instance, create and drop", 5e-6, note="a module with one page of memory"),
    Plan("fresh large", "... with 4 MiB of initial memory", 5e-6),
    Plan("cold", "whole cold call: create, input, run, output, drop", 10e-6, {"wasmtime-py": 1 / 6}),
    Plan(
        "call",
        "... as guest.call: with scheduler, limits, receipt",
        10e-6,
        note="what the embedder of the host pays; the rivals have no such layer",
    ),
    Plan("cached start", "start of a 3 MB module from the cache", 10e-3, note="read, link, first instance"),
)


def measure(*, seconds: float = 0.1, batches: int = 7) -> Iterator[Row]:
    """Measure everything and yield the rows as they get done.

    Args:
        seconds: length of one batch.
        batches: batches per peer and row.
    """
    peers: dict[str, Any] = {name: PEERS[name]() for name in installed()}
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield from _in_turns(peers, seconds, batches)
        yield from _threaded(peers, seconds, batches)
        yield from _functions(seconds, batches)
        yield from _state(seconds, batches)
        yield from _launches(seconds, batches)
        yield from _leases(seconds, batches)
        yield from _sessions(seconds, batches)
        yield from _cells(seconds, batches)
        held = {name: memory.in_process(name) for name in peers if name != "raw engine"}
        yield Row("memory per idle instance", "B", held, 20_000, note="physical memory, 1000 instances held")
    finally:
        for peer in peers.values():
            peer.close()


def _in_turns(peers: Mapping[str, Peer], seconds: float, batches: int) -> Iterator[Row]:
    offered = {name: peer.operations() for name, peer in peers.items()}
    for plan in PLANS:
        able = {name: known[plan.operation] for name, known in offered.items() if plan.operation in known}
        values = compare(able, seconds=seconds, batches=batches)
        yield Row(plan.title, "s", values, plan.goal, plan.ratios, plan.note)


def _functions(seconds: float, batches: int) -> Iterator[Row]:
    with faasm.open_host() as host:
        rows = [("Faasm echo function, cold, through the host", faasm.cold_call(host), 10e-6, "")]
        try:
            faasm.load_in_c(host)
        except BuildError as error:
            print(f"no row for a Faasm function in C: {error}", file=sys.stderr)
        else:
            note = "it touches pages of its own, each of which the kernel has to provide anew"
            rows.append(("... in C, with its libc", faasm.cold_call(host, "echo in C"), 10e-6, note))
        rows.append(("Faasm function chained and awaited, tiny child", faasm.chained_call(host), 20e-6, ""))
        for title, operation, goal, note in rows:
            values = compare({"guesthouse": operation}, seconds=seconds, batches=batches)
            yield Row(title, "s", values, goal, note=note)
    gain, share = faasm.fan_out(batches=batches)
    note = f"one worker takes {share:.2f} of the same calls made one after the other"
    title = "Faasm fan-out of pointer calls, two workers against one"
    yield Row(title, "x", {"guesthouse": gain}, 1.8, note=note)


def _state(seconds: float, batches: int) -> Iterator[Row]:
    with state.open_host() as host:
        pointers = {which: state.pointer(host, which) for which in ("small", "large")}
        spent = compare(pointers, seconds=seconds, batches=batches)
        yield Row("Faasm call that maps 1 MB of state", "s", {"guesthouse": spent["small"]})
        yield Row(
            "... 100 MB", "s", {"guesthouse": spent["large"]}, spent["small"] * 1.2,
            note="a pointer is to cost the same whatever the size",
        )  # fmt: skip
        moved = state.moved_by_a_partial_push(host)
        yield Row("partial push of one byte of 100 MB moves", "B", {"guesthouse": moved}, 1)
    engine = Engine(cache=False)
    try:
        for title, initialiser, goal in (
            ("start of a plain 64 MiB instance", "plain", None),
            ("... from a snapshot with 64 MiB of contents", "fill", 20e-6),
        ):
            template = state.snapshot(engine, initialiser)
            values = compare({"guesthouse": state.starts(template)}, seconds=seconds, batches=batches)
            yield Row(title, "s", values, goal)
    finally:
        engine.close()


def _launches(seconds: float, batches: int) -> Iterator[Row]:
    with ark.open_host() as host:
        for title, way, goal in (
            ("Ark blocking_launch and retrieve, tiny function", "blocking", 15e-6),
            ("Ark launch, poll, retrieve, tiny function", "polled", 25e-6),
        ):
            values = compare({"guesthouse": ark.launches(host, way)}, seconds=seconds, batches=batches)
            yield Row(title, "s", values, goal)
        flight = min(ark.in_flight(host) for _ in range(max(2, batches // 2)))
        yield Row(f"Ark launch with {ark.IN_FLIGHT} requests in flight, each", "s", {"guesthouse": flight})
        callees = {name: ark.crossing(host, name) for name in ("echo", "tiny")}
        spent = compare(callees, seconds=seconds, batches=batches)
        share = spent["echo"] / spent["tiny"]
        yield Row(
            "Faasm calls Faasm, against Faasm calls Ark",
            "x",
            {"guesthouse": share},
            1 / 1.3,
            note="a call across interfaces is to cost at most 1.3 of one inside",
        )
    gain = ark.two_workers(batches=batches)
    yield Row("Ark functions of 1 ms, two workers against one", "x", {"guesthouse": gain}, 1.8)


def _cells(seconds: float, batches: int) -> Iterator[Row]:
    with pulp.application(pulp.CALLER, "a", "b", consumes=["b"], call_timeout_ms=600_000) as (runtime, _):
        cell = runtime.cell("b")
        runtime.units["b"].stop_stepping(1.0)
        yield _steps(
            "Pulp idle step of an empty cell", pulp.idle_steps(cell), pulp.bare_steps(cell), seconds, batches
        )
        runtime.units["b"].run()
        values = compare({"guesthouse": pulp.sibling_calls(runtime)}, seconds=seconds, batches=batches)
        yield Row("Pulp call from cell to cell", "s", values, 5e-6)
    yield from _go_cell(seconds, batches)
    with pulp.servers() as urls:
        for connections in (1, 16, 64):
            served = pulp.compete(urls, connections, max(seconds * batches / 3, 0.3), 3)
            alone = served.pop("alone")
            for name, done in served.items():
                title = f"HTTP request to a Pulp cell, {name}, {connections} connections"
                note = f"{done}; the server without a cell {alone}; the client shares the machine"
                yield Row(title, "s", {"guesthouse": 1 / done.rate}, note=note)
    lasting = max(seconds * batches, 0.5)
    gain = max(pulp.labour(2, lasting) / pulp.labour(1, lasting) for _ in range(2))
    note = "the client and the server's own threads share the cores"
    yield Row(
        "HTTP requests of 3 ms computing, two instances against one", "x", {"guesthouse": gain}, note=note
    )
    spent, held = pulp.many_cells()
    yield Row(f"Pulp cell, load to first step, {pulp.CELLS} of one module", "s", {"guesthouse": spent})
    yield Row("... memory of each", "B", {"guesthouse": held})


def _go_cell(seconds: float, batches: int) -> Iterator[Row]:
    try:
        held = contextlib.ExitStack()
        cell = held.enter_context(pulp.go_cell())
    except BuildError as error:
        print(f"no rows for a Pulp cell in Go: {error}", file=sys.stderr)
        return
    with held:
        idle = "Pulp idle step of a Go cell"
        yield _steps(idle, pulp.idle_steps(cell), pulp.bare_steps(cell), seconds, batches)
        echo = "Pulp step of a Go cell that answers a request"
        yield _steps(echo, pulp.echo_steps(cell), pulp.bare_echo_steps(cell), seconds, batches)


def _steps(title: str, ours: Operation, bare: Operations, seconds: float, batches: int) -> Row:
    """A cell's step beside the engine's call of the same guest code; 1.15 of the guarded one is the goal."""
    values = compare({"guesthouse": ours, **bare}, seconds=seconds, batches=batches)
    goal = 1.15 * values["guarded"]
    spent = ", ".join(f"{name} {values.pop(name) * 1e9:.0f} ns" for name in bare)
    return Row(title, "s", values, goal, note=f"the engine's call of the same guest code: {spent}")


def _sessions(seconds: float, batches: int) -> Iterator[Row]:
    """GPU sessions, beside the bare driver where there is one."""
    for device in probe.devices("auto")[:1]:
        with gpu.session(device) as held:
            mine = gpu.ours(held)
            bare = gpu.plain() if device.backend == "cuda" else {}
            for operation, title in (
                ("write", "GPU session, copy 8 MiB to the device"),
                ("read", "... back"),
                ("launch", "... launch a kernel and wait"),
            ):
                peers = {"guesthouse": mine[operation]}
                if bare:
                    peers["cuda-bindings"] = bare[operation]
                note = f"{device.backend}: {device.name}"
                yield Row(title, "s", compare(peers, seconds=seconds, batches=batches), note=note)


def _leases(seconds: float, batches: int) -> Iterator[Row]:
    with fabric.open_program() as (instance, _), fabric.plain_file() as (pread, pwrite):
        for operation, title, goal in (
            ("read 64", "leased memory, guest reads 64 B", 60e-9),
            ("read 4096", "... 4 KiB", 250e-9),
            ("write 64", "leased memory, guest writes 64 B", 60e-9),
            ("write 4096", "... 4 KiB", 250e-9),
        ):
            ours: dict[str, Operation] = {"guesthouse": fabric.repeated(instance, operation)}
            yield Row(title, "s", compare(ours, seconds=seconds, batches=batches), goal)
        for operation, title, rival in (
            ("read block", "leased block, guest reads 512 B", pread),
            ("write block", "leased block, guest writes 512 B", pwrite),
        ):
            peers = {"guesthouse": fabric.repeated(instance, operation), "plain": rival}
            values = compare(peers, seconds=seconds, batches=batches)
            bare = values.pop("plain")
            note = f"the system call in a C loop takes {bare * 1e9:.0f} ns; 1.5 times that is the goal"
            yield Row(title, "s", values, 1.5 * bare, note=note)
        ours = {"guesthouse": fabric.repeated(instance, "alloc")}
        values = compare(ours, seconds=seconds, batches=batches)
        yield Row("lease of 4 KiB, allocate and free, journaled", "s", values, 5e-6)
        fabric.fill(instance)
        values = compare(ours, seconds=seconds, batches=batches)
        yield Row("... with 100 000 live leases", "s", values, 5e-6)


def _threaded(peers: Mapping[str, Any], seconds: float, batches: int) -> Iterator[Row]:
    ours = peers["guesthouse"]
    for microseconds in (5, 20, 100):
        gain = threads.scaling(threads.spinner(ours, microseconds), seconds=seconds, batches=batches)
        yield Row(
            f"two threads against one, calls of {microseconds} us",
            "x",
            {"guesthouse": gain},
            1.8 if microseconds == 20 else None,
        )
    for export, what in (("loop_native", "native"), ("loop_python", "Python")):
        turns = 100_000 if what == "native" else 2_000
        make = threads.looping(ours, export, turns)
        two = min(1 / (threads.throughput([make(), make()], seconds) * turns) for _ in range(batches))
        yield Row(f"{what} host call, two threads make them", "s", {"guesthouse": two})
        beside = min(threads.beside_python(make, turns, seconds) for _ in range(batches))
        yield Row(f"{what} host call beside a thread that spins in Python", "s", {"guesthouse": beside})


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a stream that ends early
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "python": platform.python_version(),
        "cpu": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "switch_interval": SWITCH_INTERVAL,
        "versions": {name: _version(name) for name in ("guesthouse", "wasmtime", "extism")},
    }


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
