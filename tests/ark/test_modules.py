"""The host's side (section 8): registering, inspecting, counting, limits."""

from __future__ import annotations

import gc
import time
import weakref

import pytest
from tests.ark.driving import wasm

import guesthouse
from guesthouse import ark, errors


@pytest.fixture
def modules(engine):
    with guesthouse.Host(workers=2, engine=engine) as host:
        made = ark.Modules(host)
        made.register_module("worker", wasm("worker"))
        yield made


def test_register_run_inspect_unregister(modules):
    worker = modules.host.guest("worker")
    assert worker.call(b"abc", entry="own") == b"ABC"
    assert worker.call(b"abc", entry="polls") == b"ABC"
    assert modules.host.invoke("worker", bytes([2, 0]), entry="nest").code == 0
    runs = modules.requests()
    assert [run.function for run in runs] == ["upper", "upper", "nest", "nest"]
    assert {run.state for run in runs} == {"ok"}
    assert {run.sha256 for run in runs} == {worker.info.sha256}
    assert all(run.fuel and run.wall_s > 0 for run in runs)
    assert [run.depth for run in runs] == [1, 1, 1, 2]
    assert modules.requests("failed") == []
    counted = modules.metrics()
    assert (counted["launched"], counted["succeeded"], counted["failed"]) == (4, 4, {})
    modules.unregister_module("worker")
    with pytest.raises(errors.NotFound):
        modules.host.call("worker", entry="echo")
    with pytest.raises(errors.NotFound):
        modules.unregister_module("worker")


def test_a_registered_module_has_the_limits_of_section_8(modules):
    limits = modules.host.guest("worker").limits
    assert (limits.memory, limits.output, limits.wall, limits.fuel) == (256 << 20, 64 << 20, 30.0, 10**9)


def test_a_module_that_cannot_be_loaded_leaves_the_former_in_place(modules):
    with pytest.raises(errors.LoadError):
        modules.register_module("worker", b"\0asm\1\0\0\0\xff")
    assert modules.host.call("worker", b"x", entry="echo") == b"x"


def test_other_tenants_see_their_own_requests_only(modules):
    other = ark.Modules(modules.host, tenant="other")
    other.register_module("worker", wasm("worker"), private=True)
    modules.host.call("worker", b"x", entry="own", tenant="other")
    assert len(other.requests()) == 1
    assert modules.requests() == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_request": 4}, "no limit named 'max_request'"),
        ({"max_requests": -1}, "max_requests"),
        ({"max_requests": True}, "max_requests"),
        ({"max_input": "lots"}, "lots"),
        ({"child_wall": "soon"}, "soon"),
    ],
)
def test_wrong_limits_are_refused_at_load(modules, given, message):
    with pytest.raises(errors.LoadError, match=message):
        modules.host.load(wasm("worker"), name="wrong", ark=given)


def test_limits_may_come_from_the_configuration(modules):
    guest = modules.host.load(wasm("worker"), name="mild", config={"ark": {"max_output": "1KiB"}})
    assert guest.owner.limits == ark.LaunchLimits(max_output=1024)


def test_what_a_call_without_an_entry_runs(modules):
    order = modules.register_module("order", wasm("order"))
    assert order.call() == b"sipI"  # the only function there is
    with pytest.raises(errors.NotFound, match="ark_cmdlet_run or run"):
        modules.host.call("worker")
    with pytest.raises(errors.NotFound, match="nothing"):
        modules.host.call("worker", entry="nothing")
    with pytest.raises(errors.NotFound, match="ark_alloc"):
        modules.host.call("worker", entry="ark_alloc")


def test_a_command_may_explain_its_failure(modules):
    text = """(module
      (import "ark-core-v0" "core__return_slice" (func $return (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "no such file")
      (func (export "ark_cmdlet_run") (param i32 i32) (result i32)
        (drop (call $return (i32.const 0) (i32.const 12) (i32.const 12))) (i32.const 3)))"""
    guest = modules.register_module("command", guesthouse.testing.guests.wat(text))
    result = guest.invoke(b"--help")
    assert (result.code, result.output) == (3, b"no such file")


def test_a_failed_run_says_why(modules):
    modules.host.invoke("worker", bytes([1, 0]), entry="brood")
    with pytest.raises(errors.Trap):
        modules.host.call("worker", entry="boom")
    end = time.monotonic() + 2  # the child of a caller that has ended is being interrupted now
    while not modules.requests("failed") and time.monotonic() < end:
        time.sleep(0.002)
    (run,) = modules.requests("failed")
    assert run.function == "loop"
    assert "cancelled" in run.cause
    assert modules.metrics()["failed"] == {"cancelled": 1}


def test_records_do_not_keep_a_module_that_was_replaced(modules):
    former = weakref.ref(modules.host.guest("worker"))
    modules.host.call("worker", b"abc", entry="own")
    modules.register_module("worker", wasm("order"))
    gc.collect()
    assert former() is None
    assert [run.function for run in modules.requests()] == ["upper"]


#: Launches its own function with 64 MiB and with one byte more, waiting for it or not (`LAUNCH`); returns the
#: second code, or 99.
LARGE = """(module
  (import "ark-module-run-v0" "module_run__create_function"
    (func $create (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "ark-module-run-v0" "module_run__LAUNCH" (func $launch (param i64 i32 i32 i32) (result i32)))
  (import "ark-module-run-v0" "module_run__is_ready" (func $ready (param i64 i32) (result i32)))
  (import "ark-module-run-v0" "module_run__retrieve" (func $retrieve (param i64 i32 i32) (result i32)))
  (memory (export "memory") 1030) (data (i32.const 16) "size")
  (func (export "size") (param i32 i32) (result i32)
    (if (result i32) (i32.eq (local.get 1) (i32.const 67108864)) (then (i32.const 0)) (else (i32.const 8))))
  (func (export "run") (param i32 i32) (result i32)
    (if (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 32))
      (then (return (i32.const 99))))
    (if (call $launch (i64.load (i32.const 32)) (i32.const 0) (i32.const 67108864) (i32.const 40))
      (then (return (i32.const 99))))
    (loop $poll
      (drop (call $ready (i64.load (i32.const 40)) (i32.const 48)))
      (br_if $poll (i32.eqz (i32.load8_u (i32.const 48)))))
    (if (call $retrieve (i64.load (i32.const 40)) (i32.const 0) (i32.const 0))
      (then (return (i32.const 99))))
    (call $launch (i64.load (i32.const 32)) (i32.const 0) (i32.const 67108865) (i32.const 40))))"""


@pytest.mark.parametrize("way", ["blocking_launch", "launch"])
def test_64_mib_of_input_are_taken_and_one_byte_more_is_not(modules, way):
    large = modules.register_module("large", guesthouse.testing.guests.wat(LARGE.replace("LAUNCH", way)))
    assert large.invoke(entry="run").code == 5


def test_every_import_of_the_table_is_reachable_from_the_sdk():
    """The header and the table name the same functions."""
    from guesthouse.interfaces.ark import interface
    from guesthouse.testing import guests

    header = (guests.root() / "sdk" / "ark.h").read_text()
    optional = {"core__has_extension", "core__take_host_return_vec"}
    optional |= {"core__add_debug_context", "core__remove_debug_context"}
    for row in interface.functions:
        if row.name not in optional:
            assert f'ARK_IMPORT("{row.module}", "{row.name}")' in header
