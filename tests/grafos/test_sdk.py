"""Programs in C against sdk/grafos.h, on the mock and on the real backends."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.grafos.kernels import BUNDLE

import guesthouse
from guesthouse.interfaces.grafos.fabric import Fabric, FabricOptions
from guesthouse.interfaces.grafos.imports import FUNCTIONS
from guesthouse.interfaces.grafos.net import Network
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.testing import MockFabric, guests

ROOMY = guesthouse.Limits(wall="60s", memory="64MiB")
SOURCE = guests.root() / "guests/grafos/tour.c"
#: Lines of the tour that are not statuses.
FIGURES = {
    "fbmu_get_arena_size": 65_536,
    "fbbu_get_num_blocks": 1024,
    "bandwidth": 10_000_000_000,
    "output": 7,
}
CHECKS = {"window", "lease", "renewed", "clock", "revoked", "device", "blocks", "sums", "echoed"}


def tour(host: guesthouse.Host) -> dict[str, int]:
    guest = host.load(guests.build(SOURCE), name="tour", grant=["grafos"], limits=ROOMY)
    lines = guest.call(BUNDLE).decode().splitlines()
    return {name: int(value) for name, value in (line.split() for line in lines)}


def test_the_tour_calls_every_function():
    called = set(re.findall(r"\b((?:fb[mb]u|gpu|net|tasklet)_\w+|unix_time_secs)\b", SOURCE.read_text()))
    assert {row.name for row in FUNCTIONS} <= called


def test_every_function_from_c_on_the_mock(guest_host, mock_fabric):
    mock_fabric.tasklet = None
    answers = tour(guest_host)
    for name, value in answers.items():
        if name == "sums":  # the mock computes nothing
            assert value == 0
        elif name in CHECKS:
            assert value == 1, name
        else:
            assert value == FIGURES.get(name, 0), name


def test_every_function_from_c_on_the_real_backends(tmp_path):
    for part, text in (("flags", "0x1003"), ("operstate", "up"), ("speed", "10000")):
        (tmp_path / "net/eth0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "net/eth0" / part).write_text(text)
    options = FabricOptions(directory=tmp_path / "pool", arena=65_536, blocks=1024, gpu="cpu", sync="each")
    fabric = Fabric(options, network=Network(kernel=tmp_path / "net"))
    with guesthouse.Host(fabric=fabric) as host:
        for name, value in tour(host).items():
            assert value == (1 if name in CHECKS else FIGURES.get(name, 0)), name


@pytest.mark.parametrize("sync", ["none", "each"])
def test_leased_blocks_are_read_back_after_a_restart(tmp_path, sync):
    notebook = guests.build("guests/grafos/notebook.c")
    text = bytes(range(256)) * 9 + b"the end"
    clock = VirtualClock()

    def host() -> guesthouse.Host:
        return guesthouse.Host(fabric=Fabric(FabricOptions(directory=tmp_path, sync=sync), clock=clock))

    with host() as first:
        guest = first.load(notebook, name="notebook", grant=["grafos.memory", "grafos.blocks"])
        assert guest.invoke(b"").code == -8
        guest.call(b"an older report")
        guest.call(text)
    clock.advance(1000)
    with host() as second:
        guest = second.load(notebook, name="notebook", grant=["grafos.memory", "grafos.blocks"])
        assert guest.call(b"") == text
        stranger = second.load(
            notebook, name="notebook", tenant="other", grant=["grafos.memory", "grafos.blocks"]
        )
        assert stranger.invoke(b"").code == -8
    clock.advance(86_400)
    with host() as third:
        guest = third.load(notebook, name="notebook", grant=["grafos.memory", "grafos.blocks"])
        assert guest.invoke(b"").code == -2
        assert guest.invoke(text).code == 0
        assert guest.call(b"") == text


def test_a_wasi_program_may_lease_as_well():
    command = guests.build("guests/grafos/command.c")
    with guesthouse.Host(fabric="mock") as host:
        granted = host.load(command, name="granted", grant=["grafos.memory"]).run()
        assert (granted.code, granted.stdout) == (0, b"0 0 0 hello\n")
        denied = host.load(command, name="denied").run()
        assert denied.stdout == b"-5 -5 -5 \n"
        assert "fabricbios_fbmu_v0.fbmu_alloc" in denied.receipt.refusals


@pytest.fixture(params=["mock", "memory", "file", "direct"])
def strict_host(request, tmp_path):
    """A host of each kind of fabric, with the input that tells guests whether it computes."""
    for part, text in (("flags", "0x1003"), ("operstate", "up"), ("speed", "10000")):
        (tmp_path / "net/eth0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "net/eth0" / part).write_text(text)
    pool: dict[str, dict[str, Any]] = {
        "memory": {},
        "file": {"directory": tmp_path / "pool", "sync": "each"},
        "direct": {"directory": tmp_path / "pool", "direct": True},
    }
    if request.param == "mock":
        fabric: Fabric = MockFabric()
    else:
        options = FabricOptions(gpu="cpu", **pool[request.param])
        fabric = Fabric(options, network=Network(kernel=tmp_path / "net"))
    with guesthouse.Host(fabric=fabric) as host:
        yield host, b"mock" if request.param == "mock" else b""
    fabric.close()


@pytest.mark.parametrize("source", ["strict_memory", "strict_blocks", "strict_gpu"])
def test_programs_that_check_everything_themselves_find_nothing_wrong(strict_host, source):
    host, kind = strict_host
    guest = host.load(guests.build(f"guests/grafos/{source}.c"), name=source, grant=["grafos"], limits=ROOMY)
    first = guest.invoke(kind)
    assert first.code == 0, f"line {-first.code} of {source}.c"
    if source == "strict_memory":
        assert guest.invoke(first.output).code == 0
        assert guest.invoke(first.output).code < 0  # it was freed


#: Everything that takes a pointer, with pointers that are negative where somebody takes them for signed.
HIGH = """(module
  (import "fabricbios_fbmu_v0" "fbmu_hello" (func $hello (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_read" (func $read (param i64 i32 i32) (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_write" (func $write (param i64 i32 i32) (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_alloc" (func $alloc (param i64 i64 i32) (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_query" (func $query (param i64 i32) (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_write_lease" (func $write_lease (param i64 i64 i32 i32) (result i32)))
  (import "fabricbios_fbmu_v0" "fbmu_read_lease" (func $read_lease (param i64 i64 i32 i32) (result i32)))
  (import "fabricbios_fbbu_v0" "fbbu_alloc" (func $alloc_blocks (param i64 i64 i32) (result i32)))
  (import "fabricbios_fbbu_v0" "fbbu_write_block_lease" (func $write_block (param i64 i64 i32) (result i32)))
  (import "fabricbios_fbbu_v0" "fbbu_read_block_lease" (func $read_block (param i64 i64 i32) (result i32)))
  (import "fabricbios_gpu_v1" "gpu_lease_alloc" (func $gpu (param i64 i64 i64 i32) (result i32)))
  (import "fabricbios_gpu_v1" "gpu_session_mem_alloc" (func $mem (param i64 i64 i32) (result i32)))
  (import "fabricbios_gpu_v1" "gpu_session_mem_write" (func $put (param i64 i64 i64 i32 i32) (result i32)))
  (import "fabricbios_gpu_v1" "gpu_session_mem_read" (func $get (param i64 i64 i64 i32 i32) (result i32)))
  (import "fabricbios_net_v0" "net_hello" (func $net (param i64 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 40000)
  (global $b i32 (i32.const 0x90000001))
  (func $bad (param i32) (if (local.get 0) (then unreachable)))
  (func $lease (result i64) (i64.load (global.get $b)))
  (func (export "run") (result i32)
    (call $bad (call $hello))
    (i32.store (global.get $b) (i32.const 0x12345678))
    (call $bad (call $write (i64.const 5) (global.get $b) (i32.const 4)))
    (i32.store (global.get $b) (i32.const 0))
    (call $bad (call $read (i64.const 5) (global.get $b) (i32.const 4)))
    (call $bad (i32.ne (i32.load (global.get $b)) (i32.const 0x12345678)))
    (call $bad (call $alloc (i64.const 10) (i64.const 10) (global.get $b)))
    (call $bad (call $query (call $lease) (i32.const 0x9b000003)))
    (call $bad (i64.ne (i64.load (i32.const 0x9b000003)) (call $lease)))
    (call $bad (call $write_lease (call $lease) (i64.const 0) (global.get $b) (i32.const 8)))
    (call $bad (call $read_lease (call $lease) (i64.const 0) (i32.const 0x9b000103) (i32.const 8)))
    (call $bad (i64.ne (i64.load (i32.const 0x9b000103)) (call $lease)))
    (call $bad (call $alloc_blocks (i64.const 10) (i64.const 10) (global.get $b)))
    (memory.fill (i32.const 0x9b001001) (i32.const 7) (i32.const 512))
    (call $bad (call $write_block (call $lease) (i64.const 9) (i32.const 0x9b001001)))
    (call $bad (call $read_block (call $lease) (i64.const 9) (i32.const 0x9b002001)))
    (call $bad (i32.ne (i32.load (i32.const 0x9b0021fd)) (i32.const 0x07070707)))
    (call $bad (call $gpu (i64.const 0) (i64.const 4096) (i64.const 10) (global.get $b)))
    (call $bad (call $mem (call $lease) (i64.const 100) (i32.const 0x9b000009)))
    (call $bad (call $put (call $lease) (i64.load (i32.const 0x9b000009)) (i64.const 1)
      (i32.const 0x9b001001) (i32.const 4)))
    (call $bad (call $get (call $lease) (i64.load (i32.const 0x9b000009)) (i64.const 0)
      (i32.const 0x9b003001) (i32.const 8)))
    (call $bad (i64.ne (i64.load (i32.const 0x9b003001)) (i64.const 0x0707070700)))
    (call $bad (call $net (i64.const 0) (i32.const 0x9b004001) (i32.const 32) (i32.const 0x9b005001)
      (i32.const 0x9b005009)))
    (i32.eqz (i32.load (i32.const 0x9b005001)))))"""


def test_addresses_above_two_gigabytes_are_addresses(strict_host):
    host, _ = strict_host
    limits = guesthouse.Limits(memory="4GiB", wall="60s")
    guest = host.load(guests.wat(HIGH), name="high", grant=["grafos"], limits=limits)
    assert guest.invoke().code == 0
