"""The host as its users see it: loading, naming, tenants, capabilities written in Python."""

from __future__ import annotations

import builtins
import hashlib
import threading

import pytest

import guesthouse
from guesthouse.engine import wat_to_wasm

NOOP = '(module (func (export "_start")))'
GREET = """(module
  (import "demo" "greet" (func $greet (param i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 8) "world")
  (func (export "_start") (drop (call $greet (i32.const 8) (i32.const 5)))))"""


@pytest.fixture
def host():
    with guesthouse.Host(workers=2) as host:
        yield host


def load(host, text=NOOP, **options):
    return host.load(wat_to_wasm(text), **{"name": "guest", **options})


def test_a_path_names_the_guest(host, tmp_path):
    (tmp_path / "hello.wasm").write_bytes(wat_to_wasm(NOOP))
    (tmp_path / "other.wat").write_text(NOOP)
    assert host.load(tmp_path / "hello.wasm").name == "hello"
    assert host.load(str(tmp_path / "other.wat")).name == "other"
    assert host.call("hello") == b""


def test_an_unreadable_path_is_a_load_error(host, tmp_path):
    with pytest.raises(guesthouse.LoadError, match="cannot read .*absent.wasm: No such file"):
        host.load(tmp_path / "absent.wasm")


def test_garbage_is_refused_with_the_offset(host):
    with pytest.raises(guesthouse.InvalidModule) as caught:
        host.load(b"\0asm\x01\0\0\0\x01\x7f", name="broken")
    assert caught.value.guest == "broken"
    assert caught.value.offset is not None


def test_the_digest_is_checked_before_anything_else(host):
    wasm = wat_to_wasm(NOOP)
    host.load(wasm, name="pinned", sha256=hashlib.sha256(wasm).hexdigest().upper())
    with pytest.raises(guesthouse.LoadError, match="SHA-256"):
        host.load(b"not even wasm", name="swapped", sha256=hashlib.sha256(wasm).hexdigest())


def test_input_has_a_limit_whoever_gives_it(host):
    guest = load(host, limits=guesthouse.Limits(input=4))
    for ask in (guest.call, lambda data: host.call("guest", data), lambda data: guest.invoke(data).unwrap(),
                lambda data: guest.submit(data).result(10).unwrap(),
                lambda data: host.submit("guest", data).result(10).unwrap()):  # fmt: skip
        assert ask(b"1234") == b""
        with pytest.raises(guesthouse.InputLimit, match="5 bytes of input, 4 allowed") as caught:
            ask(b"12345")
        assert (caught.value.needed, caught.value.limit, caught.value.guest) == (5, 4, "guest")


def test_names_are_taken_once_unless_replaced(host):
    load(host)
    with pytest.raises(guesthouse.LoadError, match="replace=True"):
        load(host)
    second = load(host, replace=True)
    assert host.guest("guest") is second
    host.unload("guest")
    with pytest.raises(guesthouse.NotFound):
        host.call("guest")


def test_an_unknown_guest_is_named_with_those_there_are(host):
    load(host, name="apple")
    load(host, name="secret", tenant="other")
    with pytest.raises(guesthouse.NotFound, match="no guest named 'pear'; there are: apple$"):
        host.call("pear")


def test_all_missing_imports_are_named_at_once(host):
    text = '(module (import "a" "b" (func)) (import "demo" "c" (func (param i32))) (func (export "_start")))'
    with pytest.raises(guesthouse.MissingImports) as caught:
        load(host, text)
    assert [entry[:2] for entry in caught.value.imports] == [("a", "b"), ("demo", "c")]
    assert caught.value.guest == "guest"


def test_an_unknown_grant_is_refused_with_the_nearest(host):
    with pytest.raises(guesthouse.UnknownCapability, match="did you mean 'wasi.files'"):
        load(host, grant=["wsi.files"])


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("grnat", "grant"),
        ("sha_256", "sha256"),
        ("limit", "limits"),
        ("nett", "net"),
        ("generaton", "generation"),
        ("xyzzy", None),
    ],
)
def test_an_option_that_nobody_takes_is_refused_with_the_nearest(host, option, nearest):
    with pytest.raises(guesthouse.UnknownOption, match=f"takes no option '{option}'") as caught:
        load(host, **{option: 1})
    assert (caught.value.option, caught.value.suggestion, caught.value.guest) == (option, nearest, "guest")
    assert host.guests == ()
    with pytest.raises(guesthouse.UnknownOption, match=rf"run\(\) takes no option '{option}'"):
        load(host).run(**{option: 1})


def test_a_guest_can_have_an_entry_of_its_own(host):
    text = '(module (func (export "_start")) (func (export "seven") (result i32) (i32.const 7)))'
    guest = load(host, text, entry="seven")
    assert guest.invoke().code == 7
    assert guest.submit().result(10).code == 7
    assert guest.invoke(entry="_start").code == 0
    with pytest.raises(guesthouse.NotFound, match="no entry named 'eight'"):
        load(host, text, entry="eight", replace=True).call()


def test_tenants_are_a_closed_list_where_given():
    with guesthouse.Host(tenants={"a": guesthouse.Limits(wall="1s")}) as host:
        assert load(host, tenant="a", limits=guesthouse.Limits(wall="9s")).limits.wall == 1
        with pytest.raises(guesthouse.LoadError, match="no tenant 'b'"):
            load(host, tenant="b")


def greeter(seen, **hooks):
    @guesthouse.host_function
    def greet(call, name: str) -> int:
        """Say hello."""
        seen.append((call.guest, name))
        return 0

    return guesthouse.capability("demo.greet", greet, **hooks)


def test_a_capability_in_plain_python():
    seen = []
    with guesthouse.Host(registry=guesthouse.Registry().gated(greeter(seen))) as host:
        load(host, GREET, grant=["demo.greet"]).call()
        assert seen == [("guest", "world")]
        with pytest.raises(guesthouse.MissingImports, match=r"grant 'demo\.greet'"):
            load(host, GREET, name="poor")


def test_an_always_capability_needs_no_grant():
    seen = []
    with guesthouse.Host(registry=guesthouse.Registry().always(greeter(seen))) as host:
        load(host, GREET).call()
    assert seen == [("guest", "world")]


def test_hooks_are_told_in_order():
    told = []
    hooks = {
        "setup": lambda host: told.append("setup"),
        "attach": lambda guest: told.append(f"attach {guest.name}"),
        "release": lambda guest: told.append(f"release {guest.name}"),
        "teardown": lambda: told.append("teardown"),
    }
    with guesthouse.Host(registry=guesthouse.Registry().gated(greeter([], **hooks))) as host:
        load(host, name="plain")
        load(host, GREET, name="a", grant=["demo.greet"])
        load(host, GREET, name="b", grant=["demo"])
        host.unload("a")
    assert told == ["setup", "attach a", "attach b", "release a", "release b", "teardown"]


def test_a_failing_setup_leaves_no_guest_behind():
    def setup(host):
        raise ConnectionError("no server")

    with guesthouse.Host(registry=guesthouse.Registry().gated(greeter([], setup=setup))) as host:
        with pytest.raises(ConnectionError):
            load(host, GREET, grant=["demo.greet"])
        assert host.guests == ()


def test_a_python_exception_reaches_the_embedder_unchanged():
    error = ZeroDivisionError("mine")

    @guesthouse.host_function
    def greet(call, name: str) -> int:
        raise error

    registry = guesthouse.Registry().gated(guesthouse.capability("demo.greet", greet))
    with guesthouse.Host(registry=registry) as host:
        guest = load(host, GREET, grant=["demo.greet"])
        with pytest.raises(ZeroDivisionError) as caught:
            guest.call()
        assert caught.value is error
        assert guest.invoke().error is error
        with pytest.raises(ZeroDivisionError):
            guest.submit().result().unwrap()


def test_a_call_that_spins_ends_at_its_limit_and_says_so(host):
    guest = load(
        host, '(module (func (export "_start") (loop (br 0))))', limits=guesthouse.Limits(wall="50ms")
    )
    with pytest.raises(
        guesthouse.DeadlineExceeded, match=r"guest\._start: deadline of 0\.05 s exceeded"
    ) as caught:
        guest.call()
    assert caught.value.limit == 0.05
    assert guest.submit().result(10).error is not None


@pytest.mark.parametrize("wall", [0.05, "50ms"])
@pytest.mark.parametrize("most", [None, "20s"])
def test_a_call_can_be_given_less_time_than_its_guest(host, wall, most):
    guest = load(host, '(module (func (export "_start") (loop (br 0))))', limits=guesthouse.Limits(wall=most))
    for result in guest.invoke(wall=wall), guest.submit(wall=wall).result(10):
        assert isinstance(result.error, guesthouse.DeadlineExceeded)
        assert result.error.limit == 0.05
        assert result.receipt.queued_s + result.receipt.wall_s >= 0.05


def test_the_limit_told_is_the_one_that_ran_out():
    """A guest that has less than its own limit left, since its caller's runs out first."""
    seen = []

    @guesthouse.host_function
    def descend(call) -> None:
        terms = guesthouse.calls.Terms(observer=seen.append)
        call.scheduler.run("below", parent=call, tenant=call.tenant, terms=terms)

    spin = '(module (func (export "_start") (loop (br 0))))'
    registry = guesthouse.Registry().always(guesthouse.capability("demo.descend", descend))
    with guesthouse.Host(registry=registry) as host:
        load(host, spin, name="below", limits=guesthouse.Limits(wall="20s"))
        text = '(module (import "demo" "descend" (func $descend)) (func (export "_start") (call $descend)))'
        above = load(host, text, name="above", limits=guesthouse.Limits(wall="100ms"))
        assert above.invoke().error.limit == 0.1
    assert seen[0].error.limit == 0.1


def test_guests_come_and_go_while_others_are_called(host):
    wasm, over, odd = wat_to_wasm(NOOP), threading.Event(), []

    def deploy(name):
        try:
            while not over.is_set():
                host.load(wasm, name=name, replace=True)
                host.unload(name)
        except BaseException as error:
            odd.append(error)

    threads = [threading.Thread(target=deploy, args=(f"guest{number}",)) for number in range(2)]
    for number in range(100):
        host.load(wasm, name=f"stays{number}")
    for thread in threads:
        thread.start()
    try:
        for _ in range(2000):
            with pytest.raises(guesthouse.NotFound):
                host.call("nobody")
        assert 100 <= len(host.guests) <= 102
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not odd


def test_a_closed_host_loads_nothing():
    host = guesthouse.Host()
    host.close()
    with pytest.raises(guesthouse.LoadError, match="is closed"):
        load(host)
    assert host.guests == ()


def test_a_single_grant_may_be_a_plain_string(host):
    assert "faasm.state" in load(host, grant="faasm.state").granted


def test_a_trap_names_guest_and_entry(host):
    guest = load(host, '(module (func (export "_start") unreachable))')
    with pytest.raises(guesthouse.Trap, match=r"guest\._start: trap: unreachable"):
        guest.call()


def test_the_receipt_tells_what_a_call_cost():
    seen = []
    with guesthouse.Host(registry=guesthouse.Registry().always(greeter(seen))) as host:
        guest = load(host, GREET, limits=guesthouse.Limits(fuel=100_000))
        receipt = guest.invoke(b"12345").receipt
    assert receipt.host_calls == {"demo.greet": 1}
    assert receipt.peak_memory == 65536
    assert receipt.bytes_in == 5
    assert 0 < receipt.fuel < 100_000
    assert 0 < receipt.guest_s <= receipt.wall_s


def test_closing_ends_what_runs_and_may_be_repeated():
    host = guesthouse.Host(workers=2)
    guest = load(
        host, '(module (func (export "_start") (loop (br 0))))', limits=guesthouse.Limits(wall="30s")
    )
    futures = [guest.submit() for _ in range(4)]
    threading.Timer(0.1, host.close).start()
    results = [future.result(10) for future in futures if not future.cancelled()]
    assert all(isinstance(result.error, guesthouse.Cancelled) for result in results)
    host.close()


def test_an_option_that_is_none_is_no_option():
    with guesthouse.Host(state=None) as host:
        host.service("state").put("demo", b"key", b"value")
        assert host.service("state").get("demo", b"key") == b"value"


def test_an_option_for_no_resource_is_refused():
    with pytest.raises(guesthouse.ResourceError, match="no resource 'stat'; there are: .*state"):
        guesthouse.Host(stat="memory://")


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"state": "bogus://"}, "ResourceError", "no state backend for 'bogus://'; there are: memory://"),
        ({"state": 5}, "ResourceError", "a URL, a mapping with `url` or an open tier is needed, not 5"),
        ({"state": "sqlite:///x?durability=none"}, "ResourceError", "no option 'durability=none'"),
        ({"state": {"url": "memory://", "quota": 1}}, "ResourceError", "a mapping takes url and"),
        ({"files": "s3://bucket"}, "ResourceError", "no backend for files at a URL; there are: dir:///path"),
        ({"files": "/proc/nowhere"}, "ResourceError", "option files='/proc/nowhere'"),
        ({"launches": 3}, "ResourceError", "the resource 'launches' has no options; leave launches=3 out"),
        ({"pulp": "data"}, "LoadError", "the pulp options are a mapping of storage_root and settings"),
        ({"limits": 5}, "TypeError", "limits: a guesthouse.Limits is needed, not 5"),
        ({"tenants": {"a": 5}}, "TypeError", r"tenants\['a'\]: a guesthouse.Limits is needed"),
        ({"workers": 0}, "ValueError", "workers: a whole number of at least 1 is needed, or None, not 0"),
        ({"workers": "many"}, "ValueError", "workers: a whole number"),
    ],
)
def test_options_that_cannot_be_are_refused_before_there_is_a_host(options, kind, words):
    before = threading.active_count()
    expected = getattr(guesthouse, kind, None) or getattr(builtins, kind)
    with pytest.raises(expected, match=words):
        guesthouse.Host(**options)
    assert threading.active_count() <= before


def test_resources_that_were_asked_for_are_there_from_the_start(tmp_path):
    with guesthouse.Host(state=f"sqlite:////{tmp_path}/state.db", fabric=tmp_path / "fabric"):
        assert (tmp_path / "state.db").exists()
        assert (tmp_path / "fabric" / "blocks").exists()
