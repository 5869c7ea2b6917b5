"""The request table against a model: whatever the order of calls, every answer is the specification's."""

from __future__ import annotations

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from guesthouse.interfaces.ark.requests import Requests

CAPACITY, BUDGET = 6, 4096


class RequestTable(RuleBasedStateMachine):
    """Random sequences of open, complete, withdraw, is_ready, retrieve, close."""

    running = Bundle("running")
    handles = Bundle("handles")

    def __init__(self):
        super().__init__()
        self.table = Requests(CAPACITY, BUDGET)
        self.model = {}  # handle -> None while running, else (code, output)
        self.given = set()

    @property
    def retained(self):
        return sum(len(end[1]) for end in self.model.values() if end is not None)

    @rule(target=running, memory=st.integers(0, BUDGET + 1))
    def open(self, memory):
        fits = len(self.model) < CAPACITY and self.retained + memory <= BUDGET
        assert self.table.accepts(memory) == fits
        if len(self.model) >= CAPACITY:
            return None
        request = self.table.open()
        assert request.handle not in self.given
        assert 0 < request.handle < 1 << 64
        self.given.add(request.handle)
        self.model[request.handle] = None
        return request

    @rule(target=handles, request=running)
    def name(self, request):
        return request.handle if request is not None else 7

    @rule(request=consumes(running), code=st.sampled_from([0, 0, 0, 4, 6]), output=st.binary(max_size=300))
    def complete(self, request, code, output):
        if request is None:
            return
        stored = request.complete(code, output)
        assert stored == (request.handle in self.model)
        if stored:
            self.model[request.handle] = (code, output if code == 0 else b"")

    @rule(request=consumes(running))
    def withdraw(self, request):
        if request is not None and request.handle in self.model:
            self.table.withdraw(request)
            del self.model[request.handle]

    @rule(handle=st.one_of(handles, st.integers(0, (1 << 64) - 1)))
    def is_ready(self, handle):
        answer = self.table.is_ready(handle)
        if handle not in self.model:
            assert answer == (5, False, 0)
        elif self.model[handle] is None:
            assert answer == (0, False, 0)
        else:
            assert answer == (0, True, len(self.model[handle][1]))

    @rule(handle=st.one_of(handles, st.integers(0, 3)), room=st.integers(-3, 300))
    def retrieve(self, handle, room):
        end = self.model.get(handle, "unknown")
        size = len(end[1]) if isinstance(end, tuple) else 0
        capacity = max(0, size + room)
        answer = self.table.retrieve(handle, capacity)
        if end == "unknown":
            assert answer == (5, b"")
        elif end is None:
            assert answer == (7, b"")
        elif end[0]:
            assert answer == (end[0], b"")
            del self.model[handle]
        elif capacity < size:
            assert answer == (5, b"")
        else:
            assert answer == (0, end[1])
            del self.model[handle]

    @rule()
    def close(self):
        still = {handle for handle, end in self.model.items() if end is None}
        assert {request.handle for request in self.table.close()} == still
        self.model.clear()

    @invariant()
    def counts(self):
        assert len(self.table) == len(self.model)
        assert self.table.retained == self.retained


TestRequestTable = RequestTable.TestCase
TestRequestTable.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("capacity", [1, 16, 1024, 10_000])
def test_handles_survive_any_order_of_removal(capacity):
    table = Requests(capacity, 1 << 30)
    requests = [table.open() for _ in range(capacity)]
    for number, request in enumerate(requests):
        request.complete(0, number.to_bytes(4, "little"))
    order = requests[::2] + requests[1::2][::-1]
    for request in order:
        expected = requests.index(request) if capacity <= 1024 else None
        code, output = table.retrieve(request.handle, 4)
        assert code == 0
        assert expected is None or int.from_bytes(output, "little") == expected
    assert len(table) == 0
    assert table.retained == 0


def test_handles_look_random_and_differ_between_instances():
    first, second = Requests(8, 1), Requests(8, 1)
    handles = [first.open().handle for _ in range(100)] + [second.open().handle for _ in range(100)]
    assert len(set(handles)) == 200
    assert sum(handle.bit_count() for handle in handles) / 200 == pytest.approx(32, abs=4)


def test_completion_from_another_thread_is_seen_whole():
    table = Requests(4, 1 << 30)
    for round_ in range(300):
        request = table.open()
        payload = round_.to_bytes(2, "little") * 500
        worker = threading.Thread(target=request.complete, args=(0, payload))
        worker.start()
        while not (answer := table.is_ready(request.handle))[1]:
            pass
        assert answer == (0, True, 1000)
        assert table.retrieve(request.handle, 1000) == (0, payload)
        worker.join()


def test_what_completes_after_the_end_of_its_caller_is_dropped():
    table = Requests(4, 1 << 30)
    request = table.open()
    assert table.close() == [request]
    assert request.state == "abandoned"
    assert request.complete(0, b"x" * 1000) is False
    assert table.retained == 0
    assert table.is_ready(request.handle) == (5, False, 0)
