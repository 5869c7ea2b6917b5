"""Imports meet grants: what is linked, what is refused, and what the refusal says."""

from __future__ import annotations

import importlib.metadata

import pytest
import wasmtime

import guesthouse
from guesthouse.capabilities import Capability, capability, host_function
from guesthouse.engine import modules
from guesthouse.engine.functions import Constant, HostFunction, Trapping
from guesthouse.errors import MissingImports, UnknownCapability, WrongImportType
from guesthouse.registry import ENTRY_POINTS, Registry, Status


def row(capability_name, module, name, params="i", results="i", denied=None):
    return HostFunction(capability_name, module, name, params, results, Constant(0), f"{name}.", denied)


FAASM = (
    row("", "env", "write_output", "ii", ""),
    row("faasm.state", "env", "read_state", "iii", "i"),
    row("faasm.chain", "env", "await_call"),
)
PULP = (
    row("entropy.read", "pulp", "entropy_fill", "ii", "i", Constant(99)),
    row("storage.fs", "pulp", "fs_write", "iiii", "i", Constant(99)),
    row("storage.fs", "pulp", "fs_write", "iiiiii", "i", Constant(99)),
)


@pytest.fixture
def registry():
    return Registry().interface("faasm", FAASM).interface("pulp", PULP)


def module(*imports):
    text = "".join(
        f'(import "{m}" "{n}" (func (param {" ".join(params)}) (result {" ".join(results)})))'
        for m, n, params, results in imports
    )
    return modules.read(bytes(wasmtime.wat2wasm(f"(module {text})")))


OUTPUT = ("env", "write_output", ["i32", "i32"], [])
STATE = ("env", "read_state", ["i32"] * 3, ["i32"])
CHAIN = ("env", "await_call", ["i32"], ["i32"])


def test_what_comes_with_the_interface_needs_no_grant(registry):
    links = registry.resolve(module(OUTPUT))
    assert links["env", "write_output"].params == "ii"


def test_a_grant_links_and_nothing_else_does(registry):
    granted = registry.expand(["faasm.state"])
    assert registry.resolve(module(STATE), granted)["env", "read_state"].capability == "faasm.state"
    with pytest.raises(MissingImports):
        registry.resolve(module(STATE, CHAIN), granted)


def test_all_missing_imports_are_named_at_once_with_what_would_provide_them(registry):
    unknown = ("env", "await_cal", ["i32"], ["i32"])
    with pytest.raises(MissingImports) as caught:
        registry.resolve(module(STATE, OUTPUT, CHAIN, unknown), guest="counter")
    assert caught.value.imports == (
        ("env", "read_state", "faasm.state"),
        ("env", "await_call", "faasm.chain"),
        ("env", "await_cal", None),
    )
    text = str(caught.value)
    assert "guest 'counter'" in text
    assert "--grant faasm.state --grant faasm.chain" in text
    assert "nearest known name is 'await_call'" in text


def test_a_bare_interface_name_grants_all_of_its_own_and_no_more(registry):
    granted = registry.expand(["faasm"])
    assert {"faasm.state", "faasm.chain"} <= granted
    assert "entropy.read" not in granted
    registry.resolve(module(STATE, CHAIN), granted)


@pytest.mark.parametrize(
    ("name", "near"), [("faasm.stat", "faasm.state"), ("Entropy.Read", "entropy.read"), ("zzz", None)]
)
def test_unknown_grants_suggest_the_nearest(registry, name, near):
    with pytest.raises(UnknownCapability) as caught:
        registry.expand([name])
    assert (caught.value.capability, caught.value.suggestion) == (name, near)
    with pytest.raises(UnknownCapability):
        registry[name]


def test_denied_rows_link_their_refusal_and_are_reported(registry):
    links = registry.resolve(module(("pulp", "entropy_fill", ["i32", "i32"], ["i32"])))
    assert links["pulp", "entropy_fill"].implementation == Constant(99)
    assert links.denied == [("pulp", "entropy_fill", "entropy.read")]
    granted = registry.resolve(
        module(("pulp", "entropy_fill", ["i32", "i32"], ["i32"])), registry.expand(["entropy.read"])
    )
    assert granted["pulp", "entropy_fill"].implementation == Constant(0) and not granted.denied


def test_a_row_that_refuses_by_itself_is_linked_and_not_reported(registry):
    own = Constant(0)
    registry.gated(Capability("own.files", (row("own.files", "own", "open", denied=own),)))
    links = registry.resolve(module(("own", "open", ["i32"], ["i32"])))
    assert links["own", "open"].implementation == own
    assert not links.denied


@pytest.mark.parametrize("arity", [4, 6])
def test_the_module_s_own_type_picks_the_generation(registry, arity):
    links = registry.resolve(
        module(("pulp", "fs_write", ["i32"] * arity, ["i32"])), registry.expand(["storage.fs"])
    )
    assert links["pulp", "fs_write"].params == "i" * arity


def test_a_wrong_type_names_both_sides(registry):
    with pytest.raises(WrongImportType) as caught:
        registry.resolve(module(("pulp", "fs_write", ["i64"], ["f32"])))
    assert caught.value.declared == "(i64) -> f32"
    assert len(caught.value.offered) == 2 and "(i32, i32, i32, i32) -> i32" in caught.value.offered


def test_one_name_imported_with_two_types_is_refused(registry):
    both = module(*(("pulp", "fs_write", ["i32"] * n, ["i32"]) for n in (4, 6)))
    with pytest.raises(WrongImportType):
        registry.resolve(both, registry.expand(["storage.fs"]))


def test_lenient_guests_get_stubs_for_what_nobody_knows_only(registry):
    unknown = (("wasix_32v1", "epoll_create", ["i32"], ["i32"]), ("wasix_32v1", "gone", ["i32"], []))
    links = registry.resolve(module(*unknown), lenient=True)
    assert links["wasix_32v1", "epoll_create"].implementation == Constant(52)
    assert isinstance(links["wasix_32v1", "gone"].implementation, Trapping)
    assert links.stubbed == [("wasix_32v1", "epoll_create"), ("wasix_32v1", "gone")]
    with pytest.raises(MissingImports):
        registry.resolve(module(STATE), lenient=True)
    with pytest.raises(MissingImports):
        registry.resolve(module(("x", "vector", ["v128"], ["i32"])), lenient=True)


def test_the_preferred_interface_wins_where_two_offer_the_same():
    registry = Registry().interface("one", [row("", "env", "f")]).interface("two", [row("", "env", "f")])
    needs = registry.explain(module(("env", "f", ["i32"], ["i32"])), prefer="two")
    assert needs[0].interface == "two"
    assert registry.explain(module(("env", "f", ["i32"], ["i32"])))[0].interface == "one"


def test_memories_must_be_brought_by_the_interface(registry):
    info = modules.read(bytes(wasmtime.wat2wasm('(module (import "env" "memory" (memory 1)))')))
    with pytest.raises(MissingImports):
        registry.resolve(info)
    assert registry.resolve(info, provided=[("env", "memory")]) == {}
    assert registry.explain(info, provided=[("env", "memory")])[0].status is Status.PROVIDED


def test_a_name_cannot_be_registered_twice(registry):
    with pytest.raises(ValueError, match=r"'faasm\.state' is registered already"):
        registry.gated(Capability("faasm.state"))


def test_registries_can_be_put_together(registry):
    mine = Registry().always(Capability("mine.always", (row("mine.always", "mine", "f"),))).include(registry)
    assert mine.is_always("mine.always") and not mine.is_always("faasm.state")
    assert mine.interfaces == ("mine", "faasm", "pulp")


# -- capabilities written in Python --------------------------------------------------------------------


class FakeInstance:
    memory = bytearray(b"....hello....")

    def read(self, pointer, length):
        return bytes(self.memory[pointer : pointer + length])


class FakeCall:
    instance = FakeInstance()


def test_signatures_come_from_annotations():
    @host_function
    def mix(
        call, a: guesthouse.i32, b: guesthouse.i64, c: guesthouse.f32, d: float, name: str
    ) -> guesthouse.i64:
        """Mix five things.

        More prose.
        """

    assert (mix.name, mix.params, mix.results) == ("mix", "iIfFii", "I")
    assert mix.summary == "Mix five things."


def test_several_and_no_results():
    @host_function(name="two-of-them", module="other")
    def two(call) -> tuple[guesthouse.i32, guesthouse.f64]: ...

    @host_function
    def none(call) -> None: ...

    assert (two.name, two.results, none.results) == ("two-of-them", "iF", "")
    rows = capability("demo.pair", two, none, module="mod").functions
    assert [(r.module, r.name) for r in rows] == [("other", "two-of-them"), ("mod", "none")]
    assert {r.capability for r in rows} == {"demo.pair"}


def test_text_bytes_and_signs_are_converted():
    seen = []

    @host_function
    def take(
        call, text: str, raw: bytes, signed: guesthouse.s32, wide: guesthouse.s64, flag: bool, n: int
    ) -> None:
        seen.append((text, raw, signed, wide, flag, n))

    take.implementation(FakeCall(), 4, 5, 4, 2, 2**32 - 1, 2**64 - 2, 7, 2**32 - 1)
    assert seen == [("hello", b"he", -1, -2, True, 2**32 - 1)]


def test_functions_without_conversions_are_linked_as_they_are():
    def plain(call, a: int) -> int:
        return a

    assert capability("demo.plain", plain).functions[0].implementation is plain


def test_a_definition_is_still_a_function():
    @host_function
    def add(call, a: int, b: int) -> int:
        return a + b

    assert add(None, 1, 2) == 3


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def f() -> None: ...", "first parameter"),
        ("def f(call, a) -> None: ...", "parameter 'a' has no annotation"),
        ("def f(call, a: int): ...", "the result has no annotation"),
        ("def f(call, a: list) -> None: ...", "no wasm type stands for"),
        ("def f(call, a: int) -> str: ...", "no wasm type stands for"),
        ("def f(call, *a: int) -> None: ...", "cannot pass"),
        ("def f(call, *, a: int) -> None: ...", "cannot pass"),
        ("def f(call, a: 'Nowhere') -> None: ...", "cannot be resolved"),
    ],
)
def test_what_no_guest_could_call_is_refused_when_it_is_defined(source, words):
    scope = {}
    exec(source, scope)
    with pytest.raises(TypeError, match=words):
        host_function(scope["f"])


def test_hooks_that_do_not_exist_are_refused():
    with pytest.raises(TypeError):
        capability("demo.hooks", seutp=print)
    assert capability("demo.hooks", setup=print).hooks.setup is print


def test_the_call_s_own_annotation_need_not_exist():
    def f(call: "guesthouse.NowhereToBeFound", a: "guesthouse.i32") -> "guesthouse.i32": ...  # noqa: UP037

    assert host_function(f).params == "i"


class Point:
    def __init__(self, offered):
        self.offered, self.value = offered, "package:thing"

    def load(self):
        if isinstance(self.offered, Exception):
            raise self.offered
        return self.offered


def test_third_parties_come_in_through_entry_points(monkeypatch, caplog):
    points = [
        Point(capability("third.one")),
        Point([capability("third.two"), capability("third.three")]),
        Point(lambda registry: registry.always(capability("third.four"))),
        Point(ImportError("broken package")),
    ]
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: points if group == ENTRY_POINTS else []
    )
    with caplog.at_level("WARNING", "guesthouse"):
        registry = Registry().discover()
    assert [c.name for c in registry] == ["third.one", "third.two", "third.three", "third.four"]
    assert registry.is_always("third.four") and not registry.is_always("third.one")
    assert "broken package" in caplog.text


def test_an_installed_package_is_found(tmp_path, monkeypatch):
    (tmp_path / "third_party.py").write_text(
        "import guesthouse\n"
        "def double(call, n: int) -> int:\n"
        "    'Double it.'\n"
        "    return 2 * n\n"
        "caps = guesthouse.capability('third.double', double)\n"
    )
    metadata = tmp_path / "third_party-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\ndouble = third_party:caps\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry().discover()
    assert registry["third.double"].functions[0].summary == "Double it."
    assert "third.double" in registry.expand(["third"])
