"""Random sequences of the six calls, from several callers, against a model of the request state machine."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.ark.driving import INPUT, NAME, OUT, PAGES, PATIENT, Driver, wasm

CALLERS = 3
FUNCTIONS, REQUESTS = 4, 5

#: What each function does: input to (code that retrieve answers, output).
BEHAVIOUR = {
    "echo": lambda data: (0, data),
    "upper": lambda data: (0, data.upper()),
    "none": lambda data: (0, b""),
    "brief": lambda data: (0, data),
    "counter": lambda data: (0, (1).to_bytes(4, "little")),
    "boom": lambda data: (4, b""),
    "code_n": lambda data: ({0: 0, 2: 2, 5: 5, 6: 6, 8: 8}.get(data[0], 4) if data else 5, b""),
}


class SixCalls(RuleBasedStateMachine):
    """One driver per caller; the model knows every handle that was ever given."""

    host = None

    @initialize()
    def start(self):
        self.callers = [self.open(number) for number in range(CALLERS)]
        self.functions = [{} for _ in range(CALLERS)]
        self.requests = [{} for _ in range(CALLERS)]
        self.done = set()
        self.known = [7]

    def open(self, number):
        guest = self.host.load(
            wasm("caller"),
            name=f"model{number}",
            grant=["ark.module_run"],
            limits=PATIENT,
            ark={"max_functions": FUNCTIONS, "max_requests": REQUESTS},
            replace=True,
        )
        return Driver(self.host, guest)

    def teardown(self):
        for driver in getattr(self, "callers", ()):
            driver.end()
        # what still ran when its caller ended is being interrupted now
        end = time.monotonic() + 5
        while self.host.scheduler.stats()["live"]:
            assert time.monotonic() < end, "a child outlived its caller"
            time.sleep(0.001)

    who = st.integers(0, CALLERS - 1)
    pick = st.integers(0, 10_000)

    def handle(self, who, pick, own):
        """Mostly a handle of the caller's own of the right kind, now and then any other."""
        own = list(own[who])
        if own and pick % 4:
            return own[pick % len(own)]
        return self.known[pick % len(self.known)]

    @rule(
        who=who,
        name=st.sampled_from([*BEHAVIOUR, "nothing", "memory"]),
        source=st.sampled_from([1, 1, 1, 2]),
    )
    def create(self, who, name, source):
        code, handle = self.callers[who].create("worker", name, source=source)
        if source == 2:
            assert code == 5
        elif name not in BEHAVIOUR:
            assert code == 6
        elif len(self.functions[who]) >= FUNCTIONS:
            assert code == 7
        else:
            assert code == 0
            assert handle not in self.functions[who]
            assert handle not in self.requests[who]
            self.functions[who][handle] = name
            self.known.append(handle)

    @rule(who=who, pick=pick)
    def remove(self, who, pick):
        handle = self.handle(who, pick, self.functions)
        code = self.callers[who].invoke("remove", handle)
        assert code == (0 if self.functions[who].pop(handle, None) else 6)

    @rule(who=who, pick=pick, blocking=st.booleans(), data=st.binary(max_size=20))
    def launch(self, who, pick, blocking, data):
        handle = self.handle(who, pick, self.functions)
        code, request = self.callers[who].launch(handle, data, blocking=blocking)
        name = self.functions[who].get(handle)
        if name is None:
            assert code == 6
        elif len(self.requests[who]) >= REQUESTS:
            assert code == 7
        else:
            assert code == 0
            assert request not in self.known
            self.requests[who][request] = BEHAVIOUR[name](data)
            self.known.append(request)
            if blocking:
                self.done.add(request)

    @rule(who=who, pick=pick)
    def ready(self, who, pick):
        handle = self.handle(who, pick, self.requests)
        code, answer = self.callers[who].ready(handle)
        end = self.requests[who].get(handle)
        if end is None:
            assert (code, answer) == (5, b"\xee" * 8)
            return
        assert code == 0
        done, size = int.from_bytes(answer[:4], "little"), int.from_bytes(answer[4:], "little")
        assert done in {0, 1}
        assert done or (handle not in self.done and size == 0)
        if done:
            self.done.add(handle)
            assert size == len(end[1])

    @rule(who=who, end=st.booleans())
    def replace(self, who, end):
        """A caller returns or is killed, whatever is under way; the next one has no handle of it."""
        if not end:
            self.host.scheduler.cancel(self.callers[who].call, "by the test")
        self.callers[who].end()
        self.callers[who] = self.open(who)
        self.functions[who], self.requests[who] = {}, {}

    @rule(
        who=who,
        pick=pick,
        bad=st.sampled_from([(PAGES, 1), (PAGES - 3, 8), (0xFFFFFFFF, 1), (8, 0xFFFFFFFF)]),
    )
    def out_of_range(self, who, pick, bad):
        caller = self.callers[who]
        function, request = self.handle(who, pick, self.functions), self.handle(who, pick, self.requests)
        pointer, length = bad
        assert caller.invoke("create", 1, pointer, length, NAME, 4, OUT) == 5
        assert caller.invoke("launch", function, pointer, length, OUT) == 5
        assert caller.invoke("launch", function, INPUT, 1, PAGES - 7) == 5
        assert caller.invoke("blocking", function, pointer, length, OUT) == 5
        assert caller.invoke("ready", request, PAGES - 7) == 5
        assert caller.invoke("retrieve", request, pointer, length) == 5

    @precondition(lambda self: any(self.requests))
    @rule(who=who, pick=pick)
    def wait(self, who, pick):
        if self.requests[who]:
            handle = list(self.requests[who])[pick % len(self.requests[who])]
            assert self.callers[who].wait(handle) == len(self.requests[who][handle][1])
            self.done.add(handle)

    @rule(who=who, pick=pick, room=st.integers(-2, 5))
    def retrieve(self, who, pick, room):
        handle = self.handle(who, pick, self.requests)
        end = self.requests[who].get(handle)
        size = max(0, (len(end[1]) if end else 0) + room)
        code, buffer, behind = self.callers[who].retrieve(handle, size)
        assert behind == 0xEE
        if end is None:
            assert code == 5
        elif code == 7:
            assert handle not in self.done
            assert buffer == b"\xee" * size
            return
        elif end[0]:
            assert code == end[0]
            assert buffer == b"\xee" * size
            del self.requests[who][handle]
        elif size < len(end[1]):
            assert code == 5
            assert buffer == b"\xee" * size
        else:
            assert code == 0
            assert buffer == end[1] + b"\xee" * (size - len(end[1]))
            del self.requests[who][handle]


@pytest.mark.timeout(300)
def test_six_calls_from_three_callers_keep_to_the_model(host):
    run_state_machine_as_test(
        type("SixCalls", (SixCalls,), {"host": host}),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
