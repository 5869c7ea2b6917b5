"""Sockets beside plain Python sockets, and what two compute threads of a guest get done.

``python benchmarks/wasix.py [--json]``; needs the ``ziglang`` wheel.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time

import guesthouse
from guesthouse.testing import guests

ROUND_TRIPS = 5000

# In a process of its own, so that it takes no turns of this one's interpreter.
SERVER = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        peer, _ = server.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := peer.recv(64):
            peer.sendall(data)
"""


def python_client(port: int) -> float:
    """Nanoseconds per round trip of a plain Python socket."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        block = b"ping".ljust(64)
        started = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            peer.sendall(block)
            peer.recv(64)
        return (time.perf_counter() - started) / ROUND_TRIPS * 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    limits = guesthouse.Limits(wall="60s", memory="128MiB")
    with (
        guesthouse.Host(limits=limits) as host,
        subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        guest = host.load(
            guests.build("guests/wasix/speed.c"), grant=["wasix"], net=f"ipv4:allow=127.0.0.1:{port}"
        )

        def measured(*arguments: str) -> float:
            return float(guest.run(arguments).stdout)

        ours = min(measured("echo", str(port), str(ROUND_TRIPS)) for _ in range(3))
        plain = min(python_client(port) for _ in range(3))
        one = min(measured("compute", "1") for _ in range(3))
        two = min(measured("compute", "2") for _ in range(3))
        server.kill()
    figures = {
        "echo_ns": ours,
        "python_echo_ns": plain,
        "times_python": ours / plain,
        "two_threads": 2 * one / two,
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"echo round trip: {ours:.0f} ns, plain Python sockets {plain:.0f} ns: {ours / plain:.2f} times")
    print(f"two compute threads: {2 * one / two:.2f} times the work of one")


if __name__ == "__main__":
    main()
