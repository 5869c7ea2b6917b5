"""Sockets: cases 11 to 16."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
import time

import pytest
from tests.wasix.driver import FD, PREVIEW1, Driver, descriptors_now, ip4, ip6, pair

from guesthouse.wasix import (
    HostNetworking,
    IpCidr,
    IpRoute,
    LoopbackNetworking,
    NetworkError,
    NetworkErrorKind,
    PluggableRuntime,
    VirtualNetworking,
)

SOCKETS = [
    *FD,
    "sock_open iiiie",
    "sock_bind iie",
    "sock_listen iie",
    "sock_accept iiiie",
    "sock_connect iie",
    "sock_addr_local iie",
    "sock_addr_peer iie",
    "sock_status iie",
    "sock_recv iiiiiie",
    "sock_send iiiiie",
    "sock_recv_from iiiiiiie",
    "sock_send_to iiiiiie",
    "sock_shutdown iie",
    "sock_set_opt_flag iiie",
    "sock_get_opt_flag iiie",
    "sock_set_opt_time iiie",
    "sock_get_opt_time iiie",
    "sock_set_opt_size iiIe",
    "sock_get_opt_size iiie",
    "sock_join_multicast_v4 iiie",
    "resolve iiiiiie",
    "port_addr_list iie",
    "port_route_list iie",
    "port_mac ie",
    "port_bridge iiiiie",
    "port_addr_add ie",
]
STREAM, DGRAM = 1, 0  # as generations G1 and G2 count them
LOCAL = "ipv4:allow=127.0.0.1:*,ipv6:allow=[::1]:*"


def opened(guest, kind=STREAM, family=1):
    assert guest.sock_open(family, kind, 0, 0) == 0
    return guest.u32(0)


def at(guest, address, pointer=32):
    guest.write(pointer, address)
    return pointer


def local(guest, fd):
    assert guest.sock_addr_local(fd, 64) == 0
    return pair(guest.read(64, 20))


@pytest.fixture(params=["host", "loopback"])
def network(request):
    return HostNetworking(LOCAL) if request.param == "host" else LoopbackNetworking()


@pytest.mark.parametrize(("family", "name", "address"), [(1, "127.0.0.1", ip4), (2, "::1", ip6)])
def test_case_11_guest_serves_a_python_client(host, family, name, address):
    raw = ipaddress.ip_address(name).packed
    mine = address(name if family == 1 else raw, 0)
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=HostNetworking(LOCAL))) as guest:
        fd = opened(guest, family=family)
        assert guest.sock_bind(fd, at(guest, mine)) == 0
        assert guest.sock_listen(fd, 5) == 0
        host_name, port = local(guest, fd)
        assert (host_name, port > 0) == (name, True)

        def client():
            with socket.create_connection((name, port), timeout=10) as peer:
                peer.sendall(b"ping")
                answers.append(peer.recv(100))

        answers = []
        thread = threading.Thread(target=client)
        thread.start()
        assert guest.sock_accept(fd, 0, 4, 128) == 0
        accepted = guest.u32(4)
        assert pair(guest.read(128, 20))[0] == name
        assert guest.receive(accepted) == (0, b"ping")
        assert guest.send(accepted, b"pong") == (0, 4)
        thread.join()
        assert answers == [b"pong"]
        assert guest.receive(accepted) == (0, b"")  # the end of the stream is no error


@pytest.mark.parametrize(("family", "name", "address"), [(1, "127.0.0.1", ip4), (2, "::1", ip6)])
def test_case_11_guest_is_the_client_of_a_python_server(host, family, name, address):
    kind = socket.AF_INET if family == 1 else socket.AF_INET6
    with socket.create_server((name, 0), family=kind) as server:
        port = server.getsockname()[1]
        raw = name if family == 1 else ipaddress.ip_address(name).packed
        with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=HostNetworking(LOCAL))) as guest:
            fd = opened(guest, family=family)
            assert guest.sock_connect(fd, at(guest, address(raw, port))) == 0
            assert guest.sock_addr_peer(fd, 64) == 0
            assert pair(guest.read(64, 20)) == (name, port)
            peer, there = server.accept()
            assert local(guest, fd) == (there[0], there[1])
            assert guest.send(fd, b"x" * 1000) == (0, 1000)
            assert len(peer.recv(1000, socket.MSG_WAITALL)) == 1000
            assert guest.sock_shutdown(fd, 2) == 0
            assert peer.recv(10) == b""
            assert (guest.sock_status(fd, 8), guest.read(8, 1)) == (0, b"\1")
            peer.close()


def test_case_12_datagrams(host, network):
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=network)) as guest:
        one, two = opened(guest, DGRAM), opened(guest, DGRAM)
        for fd in (one, two):
            assert guest.sock_bind(fd, at(guest, ip4("127.0.0.1", 0))) == 0
        there = local(guest, two)
        assert guest.sock_addr_peer(one, 64) == 0
        assert pair(guest.read(64, 20)) == ("0.0.0.0", 0)
        guest.write(0x8000, b"datagram")
        target = at(guest, ip4(*there))
        assert guest.sock_send_to(one, *guest.vector(0x100, 0x8000, 8), 0, target, 8) == 0
        assert guest.u32(8) == 8
        vector = guest.vector(0x100, 0x9000, 4)
        assert guest.sock_recv_from(two, *vector, 0, 8, 12, 128) == 0
        assert (guest.u32(8), guest.read(12, 2), guest.read(0x9000, 5)) == (4, b"\1\0", b"data\0")
        assert pair(guest.read(128, 20)) == local(guest, one)
        # connected, both ways; what was cut is gone
        assert guest.sock_connect(one, target) == 0
        assert guest.sock_connect(two, at(guest, ip4(*local(guest, one)))) == 0
        assert guest.send(two, b"answer and more") == (0, 15)
        assert guest.sock_recv(one, *guest.vector(0x100, 0x9000, 6), 0, 8, 12) == 0
        assert (guest.u32(8), guest.read(12, 2), guest.read(0x9000, 6)) == (6, b"\1\0", b"answer")
        assert guest.fd_fdstat_set_flags(one, 4) == 0
        assert guest.receive(one) == (6, b"")


def test_case_13_errors_of_each_state(host, network):
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=network), dirs={"/": "/tmp"}) as guest:
        listener, datagram, plain = opened(guest), opened(guest, DGRAM), opened(guest)
        here = at(guest, ip4("127.0.0.1", 0))
        vector = guest.vector(0x100, 0x8000, 4)
        assert guest.sock_listen(plain, 5) == 28
        assert guest.sock_accept(plain, 0, 4, 128) == 53
        assert guest.sock_recv(plain, *vector, 0, 8, 12) == 53
        assert guest.sock_send(plain, *vector, 0, 8) == 53
        assert guest.receive(plain)[0] == 53
        assert guest.sock_shutdown(plain, 1) == 53
        assert guest.sock_connect(datagram, here) == 28
        assert guest.sock_listen(datagram, 5) == 58
        assert guest.sock_bind(datagram, here) == 0
        assert guest.sock_bind(datagram, here) == 58
        assert guest.sock_shutdown(datagram, 3) == 58
        assert guest.sock_accept(datagram, 0, 4, 128) == 58
        assert guest.sock_bind(listener, here) == 0
        assert guest.sock_bind(listener, here) == 58
        assert guest.sock_listen(listener, 5) == 0
        assert guest.sock_listen(listener, 5) == 58
        assert guest.sock_recv(listener, *vector, 0, 8, 12) == 58
        assert guest.sock_connect(listener, here) == 58
        assert guest.sock_bind(plain, at(guest, ip6(bytes(16), 0))) == 28
        assert guest.sock_bind(plain, at(guest, bytes(20))) == 58
        for kind in (2, 3):
            assert guest.sock_open(1, kind, 0, 0) == 58
        assert guest.sock_open(3, STREAM, 0, 0) == 58
        for function, arguments in {
            "sock_bind": (32,), "sock_listen": (1,), "sock_connect": (32,), "sock_addr_local": (64,),
            "sock_status": (64,), "sock_shutdown": (1,), "sock_accept": (0, 4, 128),
            "sock_recv": (*vector, 0, 8, 12), "sock_set_opt_flag": (1, 1),
        }.items():  # fmt: skip
            assert getattr(guest, function)(77, *arguments) == 8, function
            assert getattr(guest, function)(3, *arguments) == 57, function


class Refusing(VirtualNetworking):
    kind = NetworkErrorKind.IO_ERROR

    def connect_tcp(self, addr, peer, timeout):
        raise NetworkError(self.kind)


NUMBERS = dict(
    zip(
        list(NetworkErrorKind)[:22],
        [8, 20, 29, 29, 3, 4, 64, 13, 14, 15, 27, 29, 28, 53, 43, 63, 73, 65, 6, 51, 58, 29],
        strict=True,
    )
)


def test_case_14_every_network_error_has_its_number(host):
    network = Refusing()
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=network)) as guest:
        fd = opened(guest)
        for kind, number in NUMBERS.items():
            network.kind = kind
            assert guest.sock_connect(fd, at(guest, ip4("127.0.0.1", 1))) == number, kind


def stream(guest):
    """A listener and the two ends of a connection."""
    listener, client = opened(guest), opened(guest)
    assert guest.sock_bind(listener, at(guest, ip4("127.0.0.1", 0))) == 0
    assert guest.sock_listen(listener, 5) == 0
    assert guest.sock_connect(client, at(guest, ip4(*local(guest, listener)))) == 0
    assert guest.sock_accept(listener, 0, 4, 128) == 0
    return listener, client, guest.u32(4)


def test_case_15_options(host):
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=HostNetworking(LOCAL))) as guest:
        plain = opened(guest)
        for flag in (1, 2, 5):
            assert guest.sock_set_opt_flag(plain, flag, 1) == 0
            assert (guest.sock_get_opt_flag(plain, flag, 8), guest.read(8, 1)) == (0, b"\1")
        assert guest.sock_set_opt_flag(plain, 1, 2) == 28
        for flag in (0, 3, 4, 6, 7, 8, 9, 10, 11, 12, 14, 25, 26, 99):
            assert guest.sock_set_opt_flag(plain, flag, 1) == 28, flag
        assert guest.sock_get_opt_size(plain, 23, 8) == 29
        assert guest.sock_get_opt_time(plain, 13, 8) == 29
        _, client, _ = stream(guest)
        assert guest.sock_set_opt_flag(client, 3, 1) == 0
        assert (guest.sock_get_opt_flag(client, 3, 8), guest.read(8, 1)) == (0, b"\1")
        assert guest.sock_set_opt_flag(client, 1, 1) == 28
        for time_option in (19, 20, 21, 22):
            guest.write(8, struct.pack("<B7xQ", 1, 10**9))
            assert guest.sock_set_opt_time(client, time_option, 8) == 0
            assert guest.sock_get_opt_time(client, time_option, 8) == 0
            assert guest.read(8, 16) == struct.pack("<B7xQ", 1, 10**9)
        guest.write(8, struct.pack("<B7xQ", 1, 3 * 10**9))
        assert guest.sock_set_opt_time(client, 13, 8) == 0
        assert (guest.sock_get_opt_time(client, 13, 8), guest.u64(16)) == (0, 3 * 10**9)
        assert guest.sock_set_opt_time(client, 12, 8) == 28
        for size, value in ((15, 20000), (16, 20000), (23, 40)):
            assert guest.sock_set_opt_size(client, size, value) == 0
            assert guest.sock_get_opt_size(client, size, 8) == 0
            assert guest.u64(8) >= value
        assert guest.sock_set_opt_size(client, 24, 1) == 28
        datagram = opened(guest, DGRAM)
        assert guest.sock_bind(datagram, at(guest, ip4("127.0.0.1", 0))) == 0
        for flag in (6, 7):
            assert guest.sock_set_opt_flag(datagram, flag, 1) == 0
            assert (guest.sock_get_opt_flag(datagram, flag, 8), guest.read(8, 1)) == (0, b"\1")
        assert guest.sock_set_opt_size(datagram, 24, 3) == 0
        assert (guest.sock_get_opt_size(datagram, 24, 8), guest.u64(8)) == (0, 3)


@pytest.mark.parametrize("kind", ["host", "loopback"])
def test_case_15_receiving_gives_up_in_time(host, kind):
    network = HostNetworking(LOCAL) if kind == "host" else LoopbackNetworking()
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=network)) as guest:
        _, client, _ = stream(guest)
        datagram = opened(guest, DGRAM)
        assert guest.sock_bind(datagram, at(guest, ip4("127.0.0.1", 0))) == 0
        for fd in (client, datagram):
            guest.write(8, struct.pack("<B7xQ", 1, 50_000_000))
            assert guest.sock_set_opt_time(fd, 19, 8) == 0
            started = time.monotonic()
            assert guest.receive(fd)[0] in (6, 73)
            assert 0.04 <= time.monotonic() - started < 0.5


def test_accepting_gives_up_in_time_and_need_not_wait(host, network):
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=network)) as guest:
        listener = opened(guest)
        assert guest.sock_bind(listener, at(guest, ip4("127.0.0.1", 0))) == 0
        assert guest.sock_listen(listener, 5) == 0
        guest.write(8, struct.pack("<B7xQ", 1, 50_000_000))
        assert guest.sock_set_opt_time(listener, 22, 8) == 0
        assert guest.sock_accept(listener, 0, 4, 128) == 73
        assert guest.fd_fdstat_set_flags(listener, 4) == 0
        assert guest.sock_accept(listener, 0, 4, 128) == 6


class Addresses(VirtualNetworking):
    def ip_list(self):
        return [IpCidr(ipaddress.ip_address(a), 8) for a in ("10.0.0.1", "fe80::1")]

    def route_list(self):
        return [IpRoute(IpCidr(ipaddress.ip_address("10.0.0.0"), 8), ipaddress.ip_address("10.0.0.9"), 1.5)]


def test_case_16_resolve(host):
    names = LoopbackNetworking({"many": ["10.0.0.1", "fe80::1", "10.0.0.2"]})
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=names)) as guest:
        name = guest.write(200, b"many")
        assert guest.resolve(*name, 0, 0x400, 1, 0) == 0
        assert (guest.u32(0), guest.read(0x400, 6)) == (1, b"\1\0\n\0\0\1")
        assert guest.resolve(*name, 80, 0x400, 8, 0) == 0
        assert guest.u32(0) == 3
        assert guest.read(0x400 + 18, 18) == b"\2\0" + ipaddress.ip_address("fe80::1").packed
        assert guest.read(0x400 + 36, 6) == b"\1\0\n\0\0\2"
        assert guest.resolve(*guest.write(200, b"none"), 0, 0x400, 8, 0) == 4
        assert guest.resolve(*guest.write(200, b"\xff\xfe"), 0, 0x400, 8, 0) == 28


def test_case_16_resolve_localhost_on_the_hosts_network(host):
    rules = HostNetworking("dns:allow=localhost")
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=rules)) as guest:
        assert guest.resolve(*guest.write(200, b"localhost"), 0, 0x400, 1, 0) == 0
        assert guest.u32(0) == 1
        assert guest.read(0x400, 1) in (b"\1", b"\2")
        assert guest.resolve(*guest.write(200, b"example.org"), 0, 0x400, 1, 0) == 63


@pytest.mark.parametrize(("layout", "stride"), [(1, 20), (2, 28)])
def test_case_16_address_lists(host, layout, stride):
    runtime = PluggableRuntime(networking=Addresses())
    with Driver(host, SOCKETS, runtime=runtime, addr_layout=layout) as guest:
        guest.write(0x400, b"\xee" * 400)
        guest.write(0, struct.pack("<I", 1))
        assert guest.port_addr_list(0x400, 0) == 61
        assert guest.u32(0) == 2
        assert guest.read(0x400 + stride, 372) == b"\xee" * 372
        assert guest.port_addr_list(0x400, 0) == 0
        assert guest.read(0x400, 7) == b"\1\0\n\0\0\1\x08"
        assert guest.read(0x400 + stride, 18)[:2] == b"\2\0"
        guest.write(0, struct.pack("<I", 1))
        assert guest.port_route_list(0x400, 0) == 0
        via, preferred = {1: (20, 40), 2: (28, 144)}[layout]
        assert guest.read(0x400 + via, 6) == b"\1\0\n\0\0\x09"
        assert guest.read(0x400 + preferred, 16) == struct.pack("<B7xQ", 1, 1_500_000_000)


def test_without_a_network_everything_is_unsupported(host):
    with Driver(host, SOCKETS, runtime=PluggableRuntime()) as guest:
        fd = opened(guest)
        assert guest.sock_connect(fd, at(guest, ip4("127.0.0.1", 1))) == 58
        assert guest.port_mac(0) == 58
        assert guest.port_bridge(0, 0, 0, 0, 3) == 28
        assert guest.port_bridge(0, 0, 0, 0, 4) == 58
        assert guest.resolve(*guest.write(200, b"localhost"), 0, 0x400, 8, 0) == 58


def test_nothing_is_reached_that_no_rule_allows(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for rules, expected in (
            ("", 63),
            (f"ipv4:allow=127.0.0.1:{port + 1}/out", 63),
            (f"ipv4:allow=127.0.0.1:{port}/in", 63),
            (f"ipv4:deny=127.0.0.0/8:*,ipv4:allow=*:{port}", 63),
            (f"ipv4:allow=127.0.0.1:{port}/out", 0),
            ("allow", 0),
        ):
            with Driver(host, SOCKETS, net=rules) as guest:
                assert guest.sock_connect(opened(guest), at(guest, ip4("127.0.0.1", port))) == expected, rules


def test_connecting_without_waiting(host):
    def writable(guest, fd):
        guest.write(0x1000, struct.pack("<QB7xI28x", 5, 2, fd))
        assert guest.poll_oneoff(0x1000, 0x2000, 1, 0) == 0
        return guest.u64(0x2000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Driver(host, SOCKETS, net="allow") as guest:
            fd = opened(guest)
            assert guest.fd_fdstat_set_flags(fd, 4) == 0
            assert guest.sock_connect(fd, at(guest, ip4("127.0.0.1", port))) in (0, 26)
            assert writable(guest, fd) == 5
            assert (guest.sock_status(fd, 8), guest.read(8, 1)) == (0, b"\1")
            assert guest.send(fd, b"x") == (0, 1)
    with Driver(host, SOCKETS, net="allow") as guest:
        fd = opened(guest)
        assert guest.fd_fdstat_set_flags(fd, 4) == 0
        if guest.sock_connect(fd, at(guest, ip4("127.0.0.1", port))) == 26:
            writable(guest, fd)
            assert guest.send(fd, b"x")[0] in (14, 64)
        assert guest.sock_connect(opened(guest), at(guest, ip4("127.0.0.1", port))) == 14


def test_a_mapped_address_is_the_address_it_stands_for(host):
    mapped = ipaddress.ip_address("::ffff:127.0.0.1").packed
    with Driver(host, SOCKETS, net="ipv6:allow=*:*") as guest:
        assert guest.sock_connect(opened(guest, family=2), at(guest, ip6(mapped, 1))) == 63


def test_generation_3_counts_socket_types_otherwise(host):
    functions = ["sock_open iiiie", f"{PREVIEW1}:fd_fdstat_get iie"]
    with Driver(host, functions, runtime=PluggableRuntime()) as guest:
        assert guest.sock_open(1, 2, 0, 0) == 0
        assert (guest.fd_fdstat_get(guest.u32(0), 64), guest.read(64, 1)) == (0, b"\5")
        assert guest.sock_open(1, 0, 0, 0) == 58


def test_descriptors_are_given_back(host, network):
    with Driver(host, SOCKETS):
        pass  # what compiling opens stays open
    before = descriptors_now()
    with Driver(host, SOCKETS, runtime=PluggableRuntime(networking=network)) as guest:
        for _ in range(5):
            stream(guest)
            fd = opened(guest, DGRAM)
            assert guest.sock_bind(fd, at(guest, ip4("127.0.0.1", 0))) == 0
    assert descriptors_now() <= before
