"""Random calls, queues and records against models."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.calls.fakes import FakeRunner, scheduler, spin

from guesthouse.calls import CallLimits, Outcome
from guesthouse.calls.queues import FairQueue
from guesthouse.calls.records import Records
from guesthouse.errors import CallError, Cancelled

tenants = st.sampled_from("abcd")


@given(st.lists(st.one_of(tenants, st.just("pop"), st.integers(0, 30)), max_size=120))
def test_queue_is_first_in_first_out_per_tenant_and_round_robin_over_tenants(steps):
    queue, model = FairQueue(), OrderedDict()
    made = 0
    for step in steps:
        if step == "pop":
            call = queue.pop()
            if not model:
                assert call is None
                continue
            tenant, line = next(iter(model.items()))
            assert call is line.popleft()
            model.move_to_end(tenant)
            if not line:
                del model[tenant]
        elif isinstance(step, str):
            call = SimpleNamespace(id=made, tenant=step)
            made += 1
            queue.push(call)
            model.setdefault(step, deque()).append(call)
        else:
            found = [call for line in model.values() for call in line if call.id == step]
            call = found[0] if found else SimpleNamespace(id=step, tenant="a")
            assert queue.remove(call) is bool(found)
            if found:
                model[call.tenant].remove(call)
                if not model[call.tenant]:
                    del model[call.tenant]
        assert len(queue) == sum(map(len, model.values()))
        assert all(queue.depth(tenant) == len(model.get(tenant, ())) for tenant in "abcd")


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4_000_000_000)), max_size=60),
    st.integers(1, 8),
    st.integers(0, 150),
)
def test_records_stay_within_all_bounds_and_lose_the_oldest_first(calls, most, bytes_):
    limits = CallLimits(results=most, result_bytes=bytes_, result_age=5.0)
    records, now, kept = Records(limits), 0, []
    for number, (size, pause) in enumerate(calls):
        now += pause
        call = SimpleNamespace(id=number, finished_ns=now, result=SimpleNamespace(output=b"x" * size))
        records.add(call, now)
        kept.append(call)
        while kept and (
            len(kept) > most
            or sum(len(each.result.output) for each in kept) > bytes_
            or kept[0].finished_ns < now - 5_000_000_000
        ):
            kept.pop(0)
        assert len(records) == len(kept)
        assert records.weight == sum(len(each.result.output) for each in kept)
        for each in range(number + 1):
            found = records.get(each, now)
            assert (found in kept) if found is not None else all(one.id != each for one in kept)


#: What a node of a random tree does: how it runs its children, and how it ends itself.
trees = st.recursive(
    st.tuples(st.sampled_from(["return", "fail", "raise"]), st.just(()), st.just("submit")),
    lambda below: st.tuples(
        st.sampled_from(["return", "fail", "raise"]),
        st.lists(below, max_size=4).map(tuple),
        st.sampled_from(["submit", "run", "forget", "poll", "reverse"]),
    ),
    max_leaves=25,
)


def size_of(tree):
    return 1 + sum(map(size_of, tree[1]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(trees, min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 3))
def test_every_call_of_every_tree_ends_once_and_nothing_is_left(forest, workers, nesting):
    ended = []
    runner = FakeRunner()

    @runner.guest
    def node(call):
        how, children, style = call.payload
        calls = call.scheduler
        if style == "run":
            codes = [calls.run("node", parent=call, payload=child).code for child in children]
        else:
            made = [
                calls.submit("node", parent=call, payload=child, tenant=str(len(child[1])))
                for child in children
            ]
            if style == "forget":
                codes = None
            else:
                if style == "poll":
                    while not all(calls.poll(each, call) for each in made):
                        time.sleep(0.0002)
                order = reversed(made) if style == "reverse" else made
                codes = [calls.wait(each, waiter=call).code for each in order]
                codes = codes[::-1] if style == "reverse" else codes
        expected = [0 if child[0] == "return" else 1 for child in children]
        assert codes is None or codes == expected
        if how == "raise":
            raise CallError("on purpose")
        return Outcome(0 if how == "return" else 1, b"")

    limits = CallLimits(nesting=nesting)
    with scheduler(runner, workers, limits, on_end=lambda call: ended.append(call.id)) as calls:
        tops = [calls.submit("node", payload=tree) for tree in forest]
        for top, tree in zip(tops, forest, strict=True):
            result = calls.wait(top, timeout=20)
            assert result.code == (0 if tree[0] == "return" else 1)
            assert not isinstance(result.error, AssertionError)
        assert calls.drain(20)
        assert len(ended) == len(set(ended)) == sum(map(size_of, forest))
        stats = calls.stats()
        assert stats["live"] == stats["pending"] == 0
        end = time.monotonic() + 5
        while calls.stats()["active"] > workers:  # those beyond step aside after what they were busy with
            assert time.monotonic() < end
            time.sleep(0.001)
        assert all(call.root.descendants == 0 and not call.live_children for call in tops)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 40))
def test_cancelling_in_the_middle_leaves_nothing_behind(shape, delay):
    runner = FakeRunner()

    @runner.guest
    def node(call):
        width = shape[min(call.depth, len(shape) - 1)] if call.depth < 4 else 0
        children = [call.scheduler.submit("node", parent=call) for _ in range(width)]
        if not children:
            spin(call)
        for child in children:
            call.scheduler.wait(child, waiter=call)
        return Outcome(0, b"")

    with scheduler(runner, workers=2) as calls:
        top = calls.submit("node")
        threading.Event().wait(delay / 10_000)
        calls.cancel(top, "stop")
        assert isinstance(calls.wait(top, timeout=10).error, Cancelled)
        assert calls.drain(10)
        assert calls.stats()["pending"] == 0


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_wide_and_deep_tree_finishes_whatever_the_number_of_workers(workers):
    runner = FakeRunner()

    @runner.guest
    def node(call):
        if call.depth == 5:
            return Outcome(0, b"1")
        made = [call.scheduler.submit("node", parent=call) for _ in range(4)]
        total = sum(int(call.scheduler.wait(each, waiter=call).unwrap()) for each in made)
        return Outcome(0, b"%d" % (total + 1))

    with scheduler(runner, workers, CallLimits(nesting=2)) as calls:
        result = calls.wait(calls.submit("node"), timeout=60)
        assert int(result.unwrap()) == sum(4**level for level in range(6))
