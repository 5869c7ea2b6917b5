"""``network.udp`` (spec/pulp.md 3.11)."""

from __future__ import annotations

import socket
import time

import pytest
from tests.pulp.conftest import Window

UDP = "network.udp"


@pytest.fixture
def cell(window):
    return window(UDP)


@pytest.fixture
def peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        yield peer


def listen(cell, address: str = "127.0.0.1:0") -> tuple[int, tuple[str, int]]:
    code, opened = cell.udp_listen({"addr": address})
    assert code == 0
    extension = next(each for each in cell.app.catalogue.gated if each.name == UDP)
    return opened["socket_id"], extension.addresses("any")[-1]


def test_datagrams_come_and_are_answered(cell, peer) -> None:
    number, address = listen(cell)
    peer.sendto(b"\0ping", address)
    (packet,) = cell.events("udp.packet")
    host, port = peer.getsockname()
    assert (packet["socket_id"], packet["src_addr"], packet["payload"]) == (
        number,
        f"{host}:{port}",
        b"\0ping",
    )
    assert packet["received_at"] > 1_600_000_000_000_000_000
    assert cell.udp_send({"socket_id": number, "dst_addr": packet["src_addr"], "payload": b"pong"}) == (
        0,
        {"bytes_sent": 4},
    )
    assert peer.recvfrom(100) == (b"pong", address)
    assert cell("udp_close", {"socket_id": number})[0] == 0
    assert cell("udp_close", {"socket_id": number})[0] == 4


def test_a_stranger_in_a_private_network_is_not_sent_to(cell, window, peer) -> None:
    number, _ = listen(cell)
    host, port = peer.getsockname()
    for target in (f"{host}:{port}", "169.254.169.254:53", "10.0.0.1:1", "localhost:53"):
        assert cell.udp_send({"socket_id": number, "dst_addr": target, "payload": b"x"})[0] == 4
    allowed = window(UDP, settings={"UDP_ALLOW": "127.0.0.1"})
    number, _ = listen(allowed)
    assert allowed.udp_send({"socket_id": number, "dst_addr": f"{host}:{port}", "payload": b"x"})[0] == 0
    assert peer.recv(10) == b"x"


@pytest.mark.parametrize("address", ["", "nonsense", "0.0.0.0:0", "192.0.2.1:99", "127.0.0.1:none"])
def test_what_cannot_be_bound_is_4(cell, address) -> None:
    assert cell.udp_listen({"addr": address}) == (4, None)


@pytest.mark.parametrize("target", ["", "x", "127.0.0.1:0", "127.0.0.1:99999", "no.such.host.invalid:1"])
def test_what_cannot_be_sent_to_is_4(cell, target) -> None:
    number, _ = listen(cell)
    assert cell.udp_send({"socket_id": number, "dst_addr": target, "payload": b"x"})[0] == 4


def test_sockets_are_a_cells_own_and_end_with_it(application, peer) -> None:
    app = application(*({"wasm": "any.c", "name": name, "capabilities": [UDP]} for name in ("a", "b")))
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    number = a.udp_listen({"addr": "127.0.0.1:0"})[1]["socket_id"]
    assert b.udp_send({"socket_id": number, "dst_addr": "8.8.8.8:53", "payload": b""})[0] == 11
    assert b("udp_close", {"socket_id": number})[0] == 11
    extension = next(each for each in app.catalogue.gated if each.name == UDP)
    assert len(extension.addresses("a")) == 1
    app.runtime.shut_down("a")
    assert extension.addresses("a") == []


def test_a_burst_waits_for_a_cell_that_is_behind(cell, peer) -> None:
    _, address = listen(cell)
    cell.cell._turn.take()
    try:
        for number in range(300):
            peer.sendto(b"%d" % number, address)
            if number % 50 == 49:
                time.sleep(0.01)
    finally:
        cell.cell._turn.release()
    packets = cell.events("udp.packet", 300)
    assert [int(packet["payload"]) for packet in packets] == list(range(300))
