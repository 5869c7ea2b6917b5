"""Capabilities of third parties: their hooks and scopes (spec/pulp.md 5.9, acceptance case 21)."""

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


def until(condition, seconds: float = 30) -> None:
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


def test_an_exception_of_a_strangers_function_crashes_the_cell_and_nothing_else(
    run, build, surroundings
) -> None:
    raised: list[str] = []

    def demo_greet(call, pointer: i32, length: i32) -> i32:
        """Fail in a way that nobody foresaw."""
        raised.append(call.guest)
        raise ZeroDivisionError("surprise")

    catalogue = Catalogue()
    registry = Registry().always(catalogue.sibling.capability())
    registry.gated(*(each.capability() for each in catalogue.gated if each.name != "demo.greet"))
    registry.gated(capability("demo.greet", demo_greet, module="pulp", interface="pulp"))
    granted = {"capabilities": ["demo.greet"]}
    runtime = run(
        registry,
        {"name": "any", **granted},
        {"name": "kit", "wasm": str(build("kit.c")), "consumes": ["any"]},
        {"name": "polite", "wasm": str(build("greeter.c")), "config": {"name": "x"}, **granted},
    )
    states = {row["name"]: (row["state"], row["error"]) for row in runtime.status()}
    assert states["polite"][0] == "failed"
    assert "a host function raised ZeroDivisionError: surprise" in states["polite"][1]
    with pytest.raises(ZeroDivisionError, match="surprise"):
        Window(runtime.cell("any"))("demo_greet", b"x")
    until(lambda: runtime.units["any"].restarts == 1)
    assert runtime.cell("kit").call("relay", b"any|demo_greet|\x91\xa1x") == b"\x63"
    until(lambda: runtime.units["any"].restarts == 2)
    assert Window(runtime.cell("any"))("events")[0] == 0
    assert raised == ["polite", "any", "any"]


def test_a_step_survives_what_strangers_raise(run, build) -> None:
    """The loop that steps a cell goes on after an exception of somebody else's function."""
    calls: list[int] = []

    def demo_greet(call, pointer: i32, length: i32) -> i32:
        """Fail the first time."""
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("once")
        return 0

    catalogue = Catalogue()
    registry = Registry().always(catalogue.sibling.capability())
    registry.gated(capability("demo.greet", demo_greet, module="pulp", interface="pulp"))
    runtime = run(
        registry, {"name": "step", "wasm": str(build("stepgreet.wat")), "capabilities": ["demo.greet"]}
    )
    until(lambda: runtime.units["step"].restarts == 1)
    until(lambda: len(calls) > 2)
    assert runtime.status()[0]["state"] == "ready"
