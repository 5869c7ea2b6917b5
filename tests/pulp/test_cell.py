"""One cell: entry points, ownership, errors (spec/pulp.md 2, 5.1)."""

from __future__ import annotations

import threading
import time

import pytest

from guesthouse import pulp
from guesthouse.errors import DeadlineExceeded, GuestFailed, InvalidModule, LoadError, MissingImports, Trap
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.structs import Envelope, step_event
from guesthouse.testing import guests

EXPORTS = """
  (memory (export "memory") 1)
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_shutdown") (result i32) (i32.const 0))
"""


def wat(text: str) -> pulp.CellSpec:
    return pulp.CellSpec("hand", guests.wat(f"(module {text})"))


@pytest.fixture
def kit(build):
    cells = []

    def load(**keys):
        keys = {"name": "kit", "wasm": build("kit.c"), **keys}
        cells.append(pulp.Cell.load(pulp.CellSpec(**keys), registry=pulp.registry()))
        return cells[-1]

    yield load
    for cell in cells:
        cell.close()


# -- lifecycle


def test_a_module_with_only_the_lifecycle_exports_is_a_cell() -> None:
    with pulp.Cell.load(wat(EXPORTS)) as cell:
        cell.init()
        assert not cell.has_provider()
        assert cell.probe_config_marker() is None
        assert cell.probe_last_call() is None
        with pytest.raises(pulp.NotAProvider, match="cell does not export pulp_alloc"):
            cell.step()
        with pytest.raises(pulp.NotAProvider, match="cell does not export pulp_on_call"):
            cell.call("f")
        cell.shutdown()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "[pulp_init pulp_step pulp_shutdown]"),
        (
            '(func (export "pulp_step") (param i32 i32) (result i32) i32.const 0)',
            "[pulp_init pulp_shutdown]",
        ),
    ],
)
def test_missing_exports_are_named_together_in_order(text: str, names: str) -> None:
    with pytest.raises(pulp.BadExports) as caught:
        pulp.Cell.load(wat(text))
    assert f"missing required exports: {names}" in str(caught.value)


def test_an_export_of_another_type_is_refused_at_load() -> None:
    text = EXPORTS.replace('"pulp_shutdown") (result i32)', '"pulp_shutdown") (param i32) (result i32)')
    with pytest.raises(
        pulp.BadExports, match=r"pulp_shutdown has type \(i32\) -> i32, but Pulp calls it as \(\)"
    ):
        pulp.Cell.load(wat(text))


def test_load_errors_say_the_stage(tmp_path) -> None:
    with pytest.raises(LoadError, match=r"read wasm: .*No such file"):
        pulp.Cell.load(tmp_path / "none.wasm")
    with pytest.raises(InvalidModule, match="compile wasm"):
        pulp.Cell.load(b"not wasm at all")
    with pytest.raises(MissingImports, match=r"instantiate wasm.*1 import is not available") as caught:
        pulp.Cell.load(wat(f'(import "pulp" "no_such" (func (param i32))) {EXPORTS}'))
    assert caught.value.imports == (("pulp", "no_such", None),)
    start = f'{EXPORTS} (func (export "_initialize") unreachable)'
    with pytest.raises(Trap, match=r"instantiate wasm: .*unreachable"):
        pulp.Cell.load(wat(start))


def test_start_is_initialize_before_start_before_nothing() -> None:
    counted = (
        EXPORTS
        + """ (global $n (mut i64) (i64.const 0))
        (func (export "_initialize") (global.set $n (i64.add (global.get $n) (i64.const 1))))
        (func (export "_start") (global.set $n (i64.const 100)))
        (func (export "probe_last_call") (result i64) (global.get $n)) """
    )
    with pulp.Cell.load(wat(counted)) as cell:
        assert cell.probe_last_call() == 1
    with pulp.Cell.load(wat(counted.replace("_initialize", "elsewhere"))) as cell:
        assert cell.probe_last_call() == 100


def test_init_returns_the_guests_code_and_words(kit) -> None:
    with pytest.raises(pulp.CellFailed, match="pulp_init returned 7") as caught:
        kit().init({"init_code": 7})
    assert isinstance(caught.value, GuestFailed)
    assert caught.value.code == 7
    with pytest.raises(Trap, match=r"pulp_init trap: .*unreachable"):
        kit().init({"trap": True})


def test_case_06_configuration_round_trip(kit) -> None:
    config = {"n": 1, "deep": {"list": [1, 2.5, "x", True], "empty": {}}}
    cell = kit()
    cell.init(config)
    assert cell.call("config") == codec.encode(config)


@pytest.mark.parametrize("config", [None, {}, b""])
def test_case_06_an_absent_or_empty_configuration_is_no_bytes(kit, config) -> None:
    cell = kit()
    cell.init(config)
    assert cell.probe_alloc_live() == 0
    assert cell.call("config") is None


def test_step_returns_the_guests_code_with_its_sign(kit) -> None:
    cell = kit()
    cell.init()
    assert cell.step() == 0
    assert cell.step(Envelope(0, 1, step_event("k", codec.encode(-5)))) == -5
    assert cell.step(Envelope(0, 1, step_event("k", codec.encode(9))).encode()) == 9


def test_shutdown_runs_once_and_close_ends_everything(kit) -> None:
    cell = kit()
    cell.init({"shutdown_code": 3})
    with pytest.raises(pulp.CellFailed, match="pulp_shutdown returned 3"):
        cell.shutdown()
    cell.shutdown()
    cell.close()
    cell.close()
    cell.shutdown()
    with pytest.raises(pulp.CellClosed, match=r"^cell is closed or not initialized$"):
        cell.init()
    with pytest.raises(pulp.CellClosed, match=r"^cell is closed$"):
        cell.step()
    with pytest.raises(pulp.CellClosed) as caught:
        cell.call("count")
    assert caught.value.guest == "kit"
    assert cell.probe_config_marker() is None
    assert not cell.has_provider()


def test_probes_have_the_width_and_sign_of_their_type(kit, build) -> None:
    assert kit().probe_config_marker() == -1
    with pulp.Cell.load(build("heartbeat.c")) as cell:
        cell.init({"marker": 424242})
        assert cell.probe_config_marker() == 424242
        cell.step(Envelope(call_number=(1 << 64) - 1, wall_time=1))
        assert cell.probe_last_call() == (1 << 64) - 1


# -- calls and ownership


def test_call_hands_bytes_over_and_back(kit) -> None:
    cell = kit()
    assert cell.has_provider()
    for data in (b"abc", b"\0" * 100_000 + b"end", b"x"):
        assert cell.call("reverse", data) == data[::-1]
    assert cell.call("nothing", b"ignored") is None


def test_every_block_is_freed_exactly_once(kit) -> None:
    cell = kit()
    cell.init({"n": 1})
    for data in (b"a", b"b" * 32, b"c" * 33, b"d" * 5000):
        cell.call("reverse", data)
        cell.step(Envelope(0, 0, step_event("k", codec.encode(data))))
    with pytest.raises(pulp.CellFailed):
        cell.call("fail", b"\x05")
    assert cell.probe_alloc_live() == 0


def test_idle_steps_reuse_one_block(kit) -> None:
    cell = kit()
    for _ in range(100):
        cell.step()
    assert cell.probe_alloc_live() == 1


def test_the_guest_is_never_asked_for_a_small_block() -> None:
    text = """
      (memory (export "memory") 1) (global $least (mut i64) (i64.const 9999))
      (func (export "pulp_alloc") (param i32) (result i32)
        (if (i64.lt_u (i64.extend_i32_u (local.get 0)) (global.get $least))
          (then (global.set $least (i64.extend_i32_u (local.get 0))))) (i32.const 1024))
      (func (export "pulp_init") (param i32 i32) (result i32) (i32.ne (local.get 1) (i32.const 2)))
      (func (export "pulp_step") (param i32 i32) (result i32) (i32.const 0))
      (func (export "pulp_shutdown") (result i32) (i32.const 0))
      (func (export "probe_last_call") (result i64) (global.get $least)) """
    with pulp.Cell.load(wat(text)) as cell:
        cell.init(b"\x81\xc0")
        cell.step()
        assert cell.probe_last_call() == 33


def test_a_provider_fails_with_its_code_and_words(kit) -> None:
    with pytest.raises(pulp.CellFailed, match="pulp_on_call returned 10: kit says no"):
        kit().call("no such function")
    with pytest.raises(pulp.CellFailed, match="pulp_on_call returned 1"):
        kit().call("")


def test_a_response_outside_the_memory_harms_nobody(kit) -> None:
    cell = kit()
    with pytest.raises(Trap, match="outside its memory"):
        cell.call("wild")
    with pytest.raises(pulp.MessageTooLarge, match="cell message exceeds 8388608-byte limit"):
        cell.call("huge")
    assert cell.call("reverse", b"ab") == b"ba"


def test_messages_have_a_limit(kit) -> None:
    cell = kit()
    with pytest.raises(pulp.MessageTooLarge):
        cell.call("reverse", bytes((8 << 20) + 1))
    with pytest.raises(pulp.MessageTooLarge):
        cell.step(Envelope(payload=bytes(8 << 20)))
    with pytest.raises(pulp.MessageTooLarge):
        cell.init(bytes((8 << 20) + 1))
    assert cell.usable


def test_pulp_alloc_that_gives_nothing_or_traps() -> None:
    for body, message in (("(i32.const 0)", "returned null"), ("unreachable", "pulp_alloc trap")):
        text = f'{EXPORTS} (func (export "pulp_alloc") (param i32) (result i32) {body})'
        with pulp.Cell.load(wat(text)) as cell, pytest.raises(pulp.AllocationFailed, match=message):
            cell.init({"a": 1})
    wild = f'{EXPORTS} (func (export "pulp_alloc") (param i32) (result i32) (i32.const -8))'
    with pulp.Cell.load(wat(wild)) as cell, pytest.raises(pulp.AllocationFailed, match="outside the memory"):
        cell.init({"a": 1})


# -- traps and timeouts


def test_a_trap_ends_the_instance_and_reload_replaces_it(kit) -> None:
    cell = kit()
    cell.init()
    cell.call("count")
    with pytest.raises(Trap, match=r"pulp_on_call trap: .*unreachable") as caught:
        cell.call("trap")
    assert caught.value.guest == "kit"
    assert not cell.usable
    with pytest.raises(pulp.CellClosed, match=r"cell has ended: .*unreachable"):
        cell.step()
    cell.reload()
    assert cell.call("count") == b"\x01\0\0\0"


def test_a_runaway_is_interrupted_within_its_budget(kit) -> None:
    cell = kit()
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="pulp_step trap"):
        cell.step(Envelope(payload=step_event("spin", b"\x01")), timeout=0.12)
    assert time.monotonic() - started < 1
    assert not cell.usable


def test_close_waits_for_the_running_call_and_interrupt_ends_it(kit) -> None:
    cell = kit(timeout=20)
    failed = []

    def run() -> None:
        try:
            cell.call("spin")
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not cell.busy:
        time.sleep(0.001)
    time.sleep(0.05)
    cell.interrupt("enough")
    cell.close()
    thread.join(5)
    assert "enough" in str(failed[0])


def test_case_12_a_cancelled_caller_does_not_prevent_an_orderly_shutdown(kit) -> None:
    cell = kit(timeout=0.5)
    cell.init()
    stop = threading.Event()
    outcomes = []

    def cancelled() -> None:
        if stop.is_set():
            raise KeyError("the caller went away")

    def waiter() -> None:
        try:
            cell.call("count", check=cancelled)
        except KeyError as error:
            outcomes.append(error)

    cell._turn.take()
    thread = threading.Thread(target=waiter)
    thread.start()
    while not cell._turn.waiting:
        time.sleep(0.001)
    stop.set()
    thread.join(5)
    cell._turn.release()
    assert len(outcomes) == 1
    assert cell.call("count") == b"\x01\0\0\0"
    cell.shutdown()
    assert cell.usable


def test_case_16_an_idle_step_yields_to_a_waiting_call_and_a_payload_step_does_not(kit) -> None:
    cell = kit()
    cell._turn.take()
    results: list[object] = []
    idle = threading.Thread(target=lambda: results.append(cell.idle_step(0, 0)))
    idle.start()
    idle.join(5)
    assert results == [None]
    payload = threading.Thread(
        target=lambda: results.append(cell.step(Envelope(payload=step_event("k", codec.encode(4)))))
    )
    payload.start()
    payload.join(0.05)
    assert payload.is_alive()
    cell._turn.release()
    payload.join(5)
    assert results == [None, 4]


def test_many_threads_share_a_cell(kit) -> None:
    cell = kit()
    wrong = []

    def work(number: int) -> None:
        data = bytes([number]) * 100 + b"!"
        wrong.extend(number for _ in range(50) if cell.call("reverse", data) != data[::-1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert cell.probe_alloc_live() == 0


# -- the registry


def test_case_03_unknown_declared_capability_is_an_error_naming_it(build) -> None:
    spec = pulp.CellSpec("kit", build("kit.c"), capabilities=("Entropy.Reed ",))
    with pytest.raises(pulp.UnknownCellCapability) as caught:
        pulp.Cell.load(spec, registry=pulp.registry())
    assert 'cell "kit" declares unknown capability "entropy.reed"' in str(caught.value)
    assert str(caught.value).startswith("bind capabilities: ")
    assert caught.value.suggestion == "entropy.read"


def test_case_03_declared_is_bound_and_undeclared_answers_99(kit) -> None:
    request = codec.encode({"n": 40})
    assert kit().call("entropy", request) == b"\x63"
    answer = kit(capabilities=("entropy.read",)).call("entropy", request)
    assert answer is not None
    assert answer[0] == 0
    assert len(codec.decode(answer[1:])["bytes"]) == 40


def test_case_03_without_registry_only_wasi_is_there(build) -> None:
    with pytest.raises(MissingImports):
        pulp.Cell.load(build("kit.c"))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"", 1),
        (b"\xc1", 3),
        (codec.encode({"n": 0}), 4),
        (codec.encode({}), 4),
        (codec.encode({"n": 65537}), 5),
        (codec.encode({"n": "ten"}), 3),
    ],
)
def test_entropy_codes(kit, request_, code) -> None:
    assert kit(capabilities=("entropy.read",)).call("entropy", request_) == bytes([code])


def test_out_addresses_outside_the_memory_are_a_code(kit) -> None:
    cell = kit(capabilities=("entropy.read",))
    assert cell.call("bad_out", codec.encode({"n": 4})) == b"\x09"
    assert cell.usable


def test_case_04_demo_greet_is_called_from_init_with_the_configured_name(build, capfd) -> None:
    spec = pulp.CellSpec("polite", build("greeter.c"), ("demo.greet",), {"name": "Wörld"})
    with pulp.Cell.load(spec, registry=pulp.registry()) as cell:
        cell.init()
    assert capfd.readouterr().out == "[demo.greet] cell=polite hello, Wörld!\n"


def test_case_04_undeclared_the_greeting_is_refused_with_99(build) -> None:
    with pulp.Cell.load(build("greeter.c"), registry=pulp.registry()) as cell:
        with pytest.raises(pulp.CellFailed, match="pulp_init returned 99: the greeting was refused"):
            cell.init({"name": "x"})
