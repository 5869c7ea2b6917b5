"""Capabilities of third parties: hooks, scopes, providers (spec/pulp.md 5.9, acceptance cases 21 and 22)."""

from __future__ import annotations

import time

import pytest
from tests.pulp.conftest import Window

from guesthouse import pulp
from guesthouse.capabilities import capability, i32
from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.catalogue import Catalogue
from guesthouse.interfaces.pulp.manifest import CellManifest
from guesthouse.interfaces.pulp.runtime import Runtime
from guesthouse.registry import Registry


class Recorder(pulp.Extension):
    """A capability in plain Python that remembers what it was told."""

    name = "demo.recorder"

    def __init__(self) -> None:
        self.told: list[tuple] = []
        self.waiting: list[pulp.Event] = []

    def rows(self):
        return (self.row("record", "ii", self.record, "Remember some text."),)

    def record(self, call, pointer: int, length: int) -> int:
        self.told.append(("record", call.cell.id, call.instance.read(pointer, length)))
        return 0

    def setup(self, environment) -> None:
        self.told.append(("setup", environment.storage_root.name))

    def attach(self, cell) -> None:
        self.told.append(("attach", cell.id))

    def release(self, cell) -> None:
        self.told.append(("release", cell.id))

    def poll(self):
        return self.waiting.pop(0) if self.waiting else None

    def finalize(self, event_id: int) -> None:
        self.told.append(("finalize", event_id))

    def teardown(self) -> None:
        self.told.append(("teardown",))


@pytest.fixture
def run(tmp_path, build, surroundings):
    running = []

    def run(registry, *tables):
        manifests = [
            CellManifest.from_table(
                {"version": "1", "wasm": str(build("any.c")), **table}, tmp_path / "m.toml"
            )
            for table in tables
        ]
        runtime = Runtime(
            manifests, registry, surroundings, storage_root=tmp_path / "data", settings={"HTTP_PORT": "0"}
        )
        running.append(runtime)
        runtime.start()
        return runtime

    yield run
    for runtime in running:
        runtime.stop()


def until(condition, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def test_a_capability_takes_part_in_the_life_of_a_runtime(run) -> None:
    recorder = Recorder()
    registry = Catalogue().registry().gated(recorder.capability())
    runtime = run(registry, {"name": "a", "capabilities": ["demo.recorder"]}, {"name": "b"})
    assert recorder.told == [("setup", "data"), ("attach", "a")]
    cell = Window(runtime.cell("a"))
    for number, to in ((7, "a"), (8, "b"), (9, "ghost"), (10, "")):
        recorder.waiting.append(pulp.Event("demo.event", codec.encode({"n": number}), to, number))
    assert [event["n"] for event in cell.events("demo.event", 2)] == [7, 10]
    until(lambda: {told[1] for told in recorder.told if told[0] == "finalize"} == {7, 8, 9, 10})
    runtime.stop()
    assert recorder.told[-2:] == [("release", "a"), ("teardown",)]


def test_case_21_teardown_of_a_cell_gets_its_routing_id_or_bare_name(run, build, surroundings) -> None:
    recorder = Recorder()
    registry = Catalogue().registry().gated(recorder.capability())
    for cell_id in ("", "pulp-scope/v1/1:a|1:b|1:c|1:d"):
        spec = pulp.CellSpec("plain", build("any.c"), ("demo.recorder",), cell_id=cell_id)
        pulp.Cell.load(spec, registry, surroundings=surroundings).close()
    released = [told[1] for told in recorder.told if told[0] == "release"]
    assert released == ["plain", "pulp-scope/v1/1:a|1:b|1:c|1:d"]


def test_hooks_that_fail_are_logged_and_stop_nobody(run, caplog) -> None:
    class Broken(Recorder):
        name = "demo.broken"

        def poll(self):
            raise ZeroDivisionError

        def finalize(self, event_id: int) -> None:
            raise ZeroDivisionError

        def release(self, cell) -> None:
            raise ZeroDivisionError

        def teardown(self) -> None:
            raise ZeroDivisionError

    registry = Catalogue().registry().gated(Broken().capability())
    runtime = run(registry, {"name": "a", "capabilities": ["demo.broken"]})
    runtime.post(pulp.Event("k", b"\1", "a", 5, "demo.broken"))
    until(lambda: "capability finalize failed" in caplog.text)
    until(lambda: "capability poll failed" in caplog.text)
    runtime.stop()
    assert "capability release failed" in caplog.text
    assert "capability teardown failed" in caplog.text


@pytest.mark.parametrize("hook", ["setup", "attach"])
def test_hooks_that_refuse_fail_the_start_or_the_cell(run, hook) -> None:
    class Refusing(Recorder):
        name = "demo.refusing"

    def refuse(self, _) -> None:
        raise ValueError("not today")

    setattr(Refusing, hook, refuse)
    registry = Catalogue().registry().gated(Refusing().capability())
    with pytest.raises(LoadError, match=r"demo.refusing.*not today"):
        run(registry, {"name": "a", "capabilities": ["demo.refusing"]})


# -- several providers of one name


def offering(answer: int, provider: str):
    def entropy_read(call, a: i32, b: i32, c: i32, d: i32) -> i32:
        """Answer with a code of its own."""
        return answer

    return capability("entropy.read", entropy_read, module="pulp", interface="pulp", provider=provider)


def code(runtime, name: str) -> int:
    return Window(runtime.cell(name))("entropy_read", codec.encode({"n": 1}))[0]


def registry_of(*offers):
    registry = Registry()
    catalogue = Catalogue()
    registry.always(catalogue.sibling.capability())
    registry.gated(*(each.capability() for each in catalogue.gated if each.name != "entropy.read"))
    return registry.gated(*offers)


def test_case_22_a_unique_provider_needs_no_pin(run) -> None:
    runtime = run(registry_of(offering(41, "acme")), {"name": "a", "capabilities": ["entropy.read"]})
    assert code(runtime, "a") == 41


def test_case_22_duplicates_need_a_pin_and_each_cell_gets_its_own(run) -> None:
    registry = registry_of(offering(41, "acme"), offering(42, "other"))
    cells = [
        {"name": name, "capabilities": ["entropy.read"], "capability_providers": {"entropy.read": provider}}
        for name, provider in (("a", "acme"), ("b", "other"))
    ]
    runtime = run(registry, *cells)
    assert (code(runtime, "a"), code(runtime, "b")) == (41, 42)


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({}, r"declares 'entropy.read', which several offer \(acme, other\); pin one"),
        ({"entropy.read": "nobody"}, r"unknown provider 'nobody'; it is offered by acme, other"),
        (
            {"entropy.read": "acme", "demo.greet": "acme"},
            r"pins a provider for 'demo.greet', which it does not declare",
        ),
    ],
)
def test_case_22_missing_wrong_or_idle_pins_fail(run, pins, message) -> None:
    registry = registry_of(offering(41, "acme"), offering(42, "other"))
    with pytest.raises(LoadError, match=message):
        run(registry, {"name": "a", "capabilities": ["entropy.read"], "capability_providers": pins})
