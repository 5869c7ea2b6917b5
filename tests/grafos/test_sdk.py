"""Programs in C against sdk/grafos.h, on the mock and on the real backends."""

from __future__ import annotations

import re

import pytest
from tests.grafos.kernels import BUNDLE

import guesthouse
from guesthouse.interfaces.grafos.fabric import Fabric, FabricOptions
from guesthouse.interfaces.grafos.imports import FUNCTIONS
from guesthouse.interfaces.grafos.net import Network
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.testing import guests

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
