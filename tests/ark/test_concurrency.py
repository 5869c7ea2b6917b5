"""Section 7: polling, nesting in every worker slot at once, fairness, many requests."""

from __future__ import annotations

import threading
import time

import pytest
from tests.ark.driving import PATIENT, wasm

import guesthouse

SUCCESS = 0


@pytest.fixture(params=[1, 2])
def small(request, engine):
    """A host with very few workers."""
    with guesthouse.Host(workers=request.param, engine=engine) as made:
        made.load(wasm("worker"), name="worker", grant=["ark.module_run"], limits=PATIENT)
        yield made


@pytest.mark.parametrize("way", [0, 1], ids=["blocking", "polling"])
def test_nested_launches_in_every_slot_at_once_all_finish(small, way):
    worker = small.guest("worker")
    futures = [worker.submit(bytes([12, way]), entry="nest") for _ in range(8)]
    for future in futures:
        assert future.result(60).unwrap() == b"bottom"


def test_a_polling_guest_sees_its_child_finish_with_one_worker(small):
    worker = small.guest("worker")
    futures = [worker.submit(b"abc", entry="polls") for _ in range(6)]
    assert {future.result(60).unwrap() for future in futures} == {b"ABC"}


def test_a_polling_guest_on_the_callers_thread_sees_its_child_finish(small):
    assert small.call("worker", b"abc", entry="polls") == b"ABC"


def test_requests_of_a_tenant_start_in_order(engine):
    with guesthouse.Host(workers=1, engine=engine) as host:
        host.load(wasm("worker"), name="worker", grant=["ark.module_run"], limits=PATIENT)
        futures = [host.submit("worker", b"%d" % n, entry="brief") for n in range(20)]
        for future in futures:
            future.result(30)
        starts = [future.call.started_ns for future in futures]
        assert starts == sorted(starts)


def test_one_tenants_crowd_does_not_starve_another(engine):
    with guesthouse.Host(workers=1, engine=engine) as host:
        for tenant in ("crowd", "single"):
            host.load(wasm("worker"), name="worker", tenant=tenant, limits=PATIENT)
        crowd = [host.submit("worker", b"", entry="brief", tenant="crowd") for _ in range(200)]
        single = host.submit("worker", b"", entry="brief", tenant="single")
        assert single.result(30).ok
        assert sum(not future.done() for future in crowd) > 150


def test_ten_thousand_requests_in_flight(host, drive):
    caller = drive(max_requests=10_000)
    function = caller.function("echo")

    def launch_all(instance):
        requests = []
        for number in range(10_000):
            instance.write(32768, number.to_bytes(4, "little"))
            assert instance.invoke("launch", function, 32768, 4, 16384) == SUCCESS
            requests.append(int.from_bytes(instance.read(16384, 8), "little"))
        return requests

    def collect(instance, requests):
        for number, request in enumerate(requests):
            while True:
                assert instance.invoke("ready", request, 16400) == SUCCESS
                if instance.read(16400, 1) == b"\1":
                    break
                time.sleep(0.0005)
            assert instance.invoke("retrieve", request, 16384, 4) == SUCCESS
            assert int.from_bytes(instance.read(16384, 4), "little") == number

    requests = caller.do(launch_all)
    assert len(set(requests)) == 10_000
    caller.do(lambda instance: collect(instance, requests))
    assert host.scheduler.stats()["live"] == 1


def test_callers_on_many_threads_share_one_host(host):
    wrong = []

    def work(number):
        for turn in range(20):
            text = b"caller %d turn %d" % (number, turn)
            if host.call("worker", text, entry="own") != text.upper():
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
