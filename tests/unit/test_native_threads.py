"""Servers are over only when their native threads are."""

from __future__ import annotations

import threading
import urllib.request

import pytest

from guesthouse import Host, native_threads
from guesthouse.server import Gateway


def test_names_are_given_once_and_end_with_their_number():
    names = []

    def work():
        names.append(native_threads.name_this_thread("a-rather-long-name-"))

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(set(names)) == 2
    assert all(len(name) <= 15 and name.startswith("a-rather-lon") for name in names)


def test_threads_that_python_knows_are_not_waited_for():
    named, end = threading.Event(), threading.Event()
    names = []

    def work():
        names.append(native_threads.name_this_thread("known-"))
        named.set()
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    named.wait()
    assert native_threads.wait_for_end(names[0], timeout=0)
    end.set()
    thread.join()


@pytest.mark.parametrize("requests", [0, 3])
def test_nothing_of_a_gateway_is_left_when_it_has_stopped(requests):
    with Host() as host:
        gateway = Gateway(host, "127.0.0.1:0").start()
        for _ in range(requests):
            urllib.request.urlopen(f"{gateway.url}/healthz").close()
        assert native_threads.running(gateway._native)
        gateway.stop()
        assert not native_threads.running(gateway._native)
