"""State through real guests: the state rows of the test inventory (faasm.md 7), and every refusal."""

from __future__ import annotations

import gc
import pathlib
import threading
import time
import types

import pytest

import guesthouse
from guesthouse import Limits
from guesthouse.engine import wat_to_wasm
from guesthouse.errors import Cancelled, DeadlineExceeded, Trap
from guesthouse.resources.state import StateStore
from guesthouse.testing import guests


@pytest.fixture
def c(load):
    """Loads a guest of guests/faasm by name."""
    return lambda name, **options: load(name, guests.build(f"guests/faasm/{name}.c"), **options)


@pytest.fixture
def store(host) -> StateStore:
    found = host.service("state")
    assert isinstance(found, StateStore)
    return found


@pytest.fixture
def verbs(c):
    return c("state_verbs", limits=Limits(wall=10))


TENANT = "default"


def test_case_state_async_write_read_push_read(c, store):
    assert c("state_async").call() == b"equal"
    assert store.get(TENANT, b"state_async") == b"\3\2\1\0"
    store.flush()
    assert store.get(TENANT, b"state_async") == b"\3\2\1\0"


def test_case_state_offset_overlapping_writes(c, store):
    assert c("state_offset").call() == b"success"
    store.flush()
    assert store.get(TENANT, b"state_offset") == bytes([5, 5, 6, 6, 4, 5, 6])


def test_case_state_size_before_and_after(c):
    assert c("state_size").invoke().code == 0


def test_case_state_append_from_concurrent_calls(c):
    assert c("state_append").invoke().code == 0


@pytest.mark.parametrize("text", [b"some text", b"", bytes(range(256)) * 300])
def test_case_print_state_shows_what_the_host_put(c, store, text):
    store.put(TENANT, b"the key", text)
    assert c("print_state").call(b"the key") == text


def test_case_state_shared_between_calls_without_a_push(c, store):
    writer, reader = c("state_shared_write"), c("state_shared_read")
    assert writer.call() == b"success"
    assert reader.call() == b"success"
    assert reader.call() == b"success"
    assert store.tier.size(TENANT, b"state_shared") is None  # nothing is pushed implicitly


def test_pointer_writes_are_pushed_only_when_flagged(verbs, store):
    verbs.call(b"wpPsp")
    store.flush()
    assert store.get(TENANT, b"k") == b"12345678"
    verbs.call(b"Psfp")
    store.flush()
    assert store.get(TENANT, b"k") == b"S2345678"


def test_partial_push_moves_flagged_bytes(verbs, store):
    verbs.call(b"wp")
    before = store.usage(TENANT)["pushed"]
    verbs.call(b"PsFq")
    assert store.usage(TENANT)["pushed"] == before + 1
    store.flush()
    assert store.get(TENANT, b"k") == b"S2345678"


def test_masked_push_from_a_guest(verbs, store):
    verbs.call(b"wpmwM")
    assert store.get(TENANT, b"mask") == bytes(8)
    assert store.get(TENANT, b"k") == b"12345678"


def test_offset_pointer_aliases_the_value(verbs):
    assert verbs.call(b"wOs=") == b"12S45678"


@pytest.mark.parametrize(
    ("verbs_", "words"),
    [
        (b"wo", "out of bounds chunk"),
        (b"wi", "out of bounds chunk"),
        (b"X", "out of bounds chunk"),
        (b"n", "size"),
        (b"N", "size"),
        (b"wL", "unlocked"),
        (b"wlR", "unlocked"),
        (b"wlLL", "unlocked"),
        (b"ae", "out of bounds"),
        (b"aae", "out of bounds"),
        (b"4", "outside"),
        (b"5", "outside"),
        (b"6", "key is no string"),
        (b"7", "quota"),
        (b"8", "key is no string"),
        (b"9", "keys have"),
    ],
)
def test_bad_requests_end_the_call_with_a_reason_and_the_host_goes_on(verbs, verbs_, words):
    result = verbs.invoke(verbs_)
    assert isinstance(result.error, Trap) and words in str(result.error)
    assert verbs.call(b"w=") == b"12345678"


def test_the_holder_of_a_lock_goes_on(verbs):
    assert verbs.call(b"wlPwopqg=L".replace(b"o", b"")) == b"12345678"
    assert verbs.call(b"rwR=") == b"12345678"


def test_locks_are_given_back_when_a_call_ends_in_whatever_way(verbs):
    verbs.call(b"wl")
    assert isinstance(verbs.invoke(b"lt").error, Trap)
    verbs.host.load(verbs_module(), name="slow", grant=["faasm"], limits=Limits(wall=0.2))
    assert isinstance(verbs.host.guest("slow").invoke(b"l!").error, DeadlineExceeded)
    assert verbs.call(b"lwL=") == b"12345678"


def verbs_module() -> bytes:
    return guests.build("guests/faasm/state_verbs.c").read_bytes()


def test_waiting_for_a_lock_ends_with_the_deadline(verbs, store):
    verbs.call(b"w")
    with store.session(TENANT, owner=2**40) as other:
        other.lock(b"k", write=True)
        waiting = verbs.host.load(verbs_module(), name="slow", grant=["faasm"], limits=Limits(wall=0.2))
        begun = time.monotonic()
        assert isinstance(waiting.invoke(b"l").error, DeadlineExceeded)
        assert isinstance(waiting.invoke(b"w").error, DeadlineExceeded)
        assert time.monotonic() - begun < 5
        future = verbs.submit(b"l")
        time.sleep(0.05)
        future.cancel()
        with pytest.raises((Cancelled, guesthouse.errors.Error, Exception)):
            raise future.result().error or AssertionError("it should have been cancelled")
    assert verbs.call(b"lL") == b""


#: Grows by the pages it is told to and puts out what is there; maps a value before if told so.
PEEK = wat_to_wasm("""(module
  (import "env" "__faasm_read_state_ptr" (func $map (param i32 i32) (result i32)))
  (import "env" "__faasm_read_input" (func $input (param i32 i32) (result i32)))
  (import "env" "__faasm_write_output" (func $output (param i32 i32)))
  (memory (export "memory") 1 1024)
  (data (i32.const 64) "secret\\00")
  (func (export "_start")
    (drop (call $input (i32.const 0) (i32.const 4)))
    (if (i32.load8_u (i32.const 0))
      (then
        (memory.fill (call $map (i32.const 64) (i32.const 65536)) (i32.const 0x41) (i32.const 65536))
        (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 2)) (then unreachable))
        (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 3)) (then (loop $spin (br $spin)))))
      (else
        (drop (memory.grow (i32.const 8)))
        (call $output (i32.const 65536) (i32.const 524288))))))""")


@pytest.mark.parametrize("how", [b"\1", b"\2", b"\3"], ids=["returns", "traps", "times out"])
def test_pages_of_a_value_never_reach_the_next_instance_in_the_slot(host, how):
    """Fails if mappings are not undone before the store is dropped (DESIGN section 3 item 5)."""
    guest = host.load(PEEK, name="peek", grant=["faasm"], limits=Limits(wall=0.3))
    for _ in range(5):
        guest.invoke(how)
        assert guest.call(b"\0") == bytes(524288)
    assert host.service("state").get(TENANT, b"secret") == b"A" * 65536  # and nobody wiped the value


def test_tenants_do_not_share_state(host):
    module = verbs_module()
    one = host.load(module, name="verbs", tenant="one", grant=["faasm"])
    two = host.load(module, name="verbs", tenant="two", grant=["faasm"])
    one.call(b"w")
    assert two.call(b"=") == b""
    assert one.call(b"=") == b"12345678"


def test_mapping_respects_the_memory_limit(host):
    guest = host.load(verbs_module(), name="small", grant=["faasm"], limits=Limits(memory="5MiB"))
    result = guest.invoke(b"BB")
    assert result.error is None or "memory" in str(result.error)
    tight = host.load(verbs_module(), name="tight", grant=["faasm"], limits=Limits(memory=4784128))
    assert isinstance(tight.invoke(b"B").error, guesthouse.errors.MemoryLimit)


def test_state_that_was_not_granted_refuses_the_module(host):
    with pytest.raises(guesthouse.errors.MissingImports) as refusal:
        host.load(verbs_module(), name="bare", grant=["faasm.chain"])
    assert ("env", "__faasm_read_state", "faasm.state") in refusal.value.imports


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_three_guests_on_eight_threads_lose_no_count(tmp_path, backend):
    """Copies, pointers, locks and pushes of three functions at once, against the only right answer."""
    url = "memory://" if backend == "memory" else f"sqlite:///{tmp_path}/state.db"
    with guesthouse.Host(state=url, workers=2) as host:
        wasm = guests.build("guests/faasm/state_counter.c")
        functions = [host.load(wasm, name=f"counter{n}", grant=["faasm.state"]) for n in range(3)]
        host.service("state").put(TENANT, b"counter", bytes(4))
        failed = []

        def work(number: int) -> None:
            for i in range(6):
                result = functions[(number + i) % 3].invoke(b"p" if (number + i) % 2 else b"c")
                if result.code or result.error:
                    failed.append(result)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        store = host.service("state")
        assert int.from_bytes(store.get(TENANT, b"counter"), "little") == 8 * 6 * 50
        store.flush()
        assert int.from_bytes(store.get(TENANT, b"counter"), "little") == 8 * 6 * 50


MANY = wat_to_wasm("""(module
  (import "env" "__faasm_read_state_offset_ptr" (func $map (param i32 i32 i32 i32) (result i32)))
  (import "env" "__faasm_read_input" (func $input (param i32 i32) (result i32)))
  (memory (export "memory") 1 65535) (data (i32.const 16) "many\\00")
  (func (export "_start") (local $i i32)
    (drop (call $input (i32.const 0) (i32.const 4)))
    (loop $more
      (i32.store8 (call $map (i32.const 16) (i32.const 1000000) (local.get $i) (i32.const 8)) (i32.const 1))
      (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.load (i32.const 0)))))))""")


def test_pointers_are_bounded_and_leave_nothing_behind(host):
    """Each is an area of the kernel's, of which a process has 65530."""

    def areas() -> int:
        return pathlib.Path("/proc/self/maps").read_text().count("\n")

    guest = host.load(MANY, name="many", grant=["faasm"], limits=Limits(memory="4GiB", wall=30))
    assert guest.invoke((1000).to_bytes(4, "little")).error is None
    before = areas()
    for _ in range(5):
        assert guest.invoke((1000).to_bytes(4, "little")).error is None
        result = guest.invoke((60_000).to_bytes(4, "little"))
        assert isinstance(result.error, Trap) and "1024 pointers" in str(result.error)
    assert areas() < before + 100


@pytest.mark.parametrize(
    "how", [b"a", b"u", b"l"], ids=["awaited with the lock held", "unlocked first", "child locks"]
)
def test_a_lock_that_is_held_over_a_child(c, how):
    guest = c("state_lock_chain", limits=Limits(wall=10))
    for _ in range(5):
        assert guest.invoke(how).unwrap() == b""


def test_instances_that_are_forgotten_in_a_cycle_give_their_locks_back(host):
    """Nobody closed them: the garbage collector finds instance, session and call in whatever order."""
    from guesthouse.engine import Engine
    from guesthouse.interfaces.faasm import state as rows

    store, engine = host.service("state"), Engine(cache=False)
    wasm = wat_to_wasm("""(module
      (import "env" "__faasm_write_state" (func $write (param i32 i32 i32)))
      (import "env" "__faasm_lock_state_write" (func $lock (param i32)))
      (import "env" "__faasm_read_state_ptr" (func $map (param i32 i32) (result i32)))
      (memory (export "memory") 1 100) (data (i32.const 0) "gone\\00")
      (func (export "go") (call $write (i32.const 0) (i32.const 0) (i32.const 4)) (call $lock (i32.const 0))
        (drop (call $map (i32.const 0) (i32.const 4)))))""")
    table = {(row.module, row.name): row for row in rows.ROWS}
    module = engine.compile(wasm)
    template = module.link({key: table[key] for key in {(i.module, i.name) for i in module.info.imports}})
    for number in range(1, 9):
        instance = template.open()
        call = types.SimpleNamespace(tenant="t", id=number, parent=None, instance=instance)
        call.itself, instance.call = call, call
        rows.bind(instance, store, "t")
        instance.start()
        instance.invoke("go")
        del instance, call
        gc.collect()
    with store.session("t", owner=1000) as after:
        after.lock(b"gone", write=True)


def test_an_instance_that_outlives_its_calls_has_state_too(host):
    """A resident guest of another interface, such as a Pulp cell, is bound without a call."""
    guest = host.load(verbs_module(), name="resident", tenant="owner", grant=["faasm"])
    with guest.open(None) as instance:
        instance.start()
        instance.invoke("malloc", 1)
        with pytest.raises(Trap, match="key is no string"):
            invoke_state(instance)
        assert host.service("state").usage("owner")["keys"] == 0


def invoke_state(instance) -> None:
    """Reads state at a bad key, through a library of the instance's own store."""
    from guesthouse.engine.linking import compile_beside, host_functions, run
    from guesthouse.interfaces.faasm import state as rows

    row = next(row for row in rows.ROWS if row.name == "__faasm_push_state")
    forward = compile_beside(
        instance,
        wat_to_wasm("""(module
      (import "env" "__faasm_push_state" (func $push (param i32)))
      (func (export "go") (call $push (i32.const -1))))"""),
    )
    function = host_functions(instance, forward.link({("env", row.name): row}, counted=False)).export("go")
    run(function)
