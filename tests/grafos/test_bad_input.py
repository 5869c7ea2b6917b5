"""What a hostile or broken program may pass: ranges, ids, types, and the order in which it is told so.

The ranges are written down here once more, from the specification (spec fabric.md 3 to 7), so that a slip in
the table of host functions shows.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.grafos.conftest import DATA, OUT, TEXT, Program, Programs, mirror

import guesthouse
from guesthouse.interfaces.grafos.imports import FUNCTIONS
from guesthouse.resources.leases.clock import LeaseClock
from guesthouse.testing import MockFabric, mock_advance_time_secs

END = 2 * 65_536
#: Per function: the pointers among its arguments, each with its length, or with the argument that tells it.
POINTERS: dict[str, dict[int, int | str]] = {
    "fbmu_read": {1: "2"},
    "fbmu_write": {1: "2"},
    "fbmu_alloc": {2: 32},
    "fbmu_renew": {2: 8},
    "fbmu_query": {1: 32},
    "fbmu_read_lease": {2: "3"},
    "fbmu_write_lease": {2: "3"},
    "fbbu_read_block": {1: 512},
    "fbbu_write_block": {1: 512},
    "fbbu_alloc": {2: 32},
    "fbbu_renew": {2: 8},
    "fbbu_query": {1: 32},
    "fbbu_read_block_lease": {2: 512},
    "fbbu_write_block_lease": {2: 512},
    "gpu_lease_alloc": {3: 8},
    "gpu_lease_renew": {2: 8},
    "gpu_session_mem_alloc": {2: 8},
    "gpu_session_mem_write": {3: "4"},
    "gpu_session_mem_read": {3: "4"},
    "gpu_session_module_load": {1: "2", 3: 8},
    "gpu_session_launch": {2: "3", 4: 28, 5: "6", 7: "4*8"},
    "net_hello": {1: "2", 3: 4, 4: 8},
    "tasklet_submit": {0: 56, 1: 24},
}
LENGTHS = {name: {int(str(size)[-1]) for size in sizes.values() if isinstance(size, str)}
           for name, sizes in POINTERS.items()}  # fmt: skip
ROWS = {row.name: row for row in FUNCTIONS if row.capability}
BOTH = pytest.mark.parametrize("grant", [("grafos",), ()], ids=["granted", "denied"])


def arguments(name: str) -> list[int]:
    """Arguments that are all right, except that no lease has the id 1."""
    made = [1 if kind == "I" else DATA for kind in ROWS[name].params]
    for position in LENGTHS.get(name, ()):
        made[position] = 16
    return made


def length_of(name: str, pointer: int, args: list[int]) -> int:
    size = POINTERS[name][pointer]
    if isinstance(size, int):
        return size
    *scale, position = size.split("*")
    return args[int(position)] * int(scale[0] if scale else 1)


def test_every_pointer_is_known_here() -> None:
    for name, row in ROWS.items():
        found = {at for at, kind in enumerate(row.params) if kind == "i"} - LENGTHS.get(name, set())
        assert found == set(POINTERS.get(name, {})), name


@BOTH
@pytest.mark.parametrize("name", POINTERS)
def test_case_10_each_range_alone_may_touch_the_end_and_not_cross_it(
    programs: Programs, name: str, grant: tuple[str, ...]
) -> None:
    program = programs(rows=[ROWS[name]], grant=grant)
    for pointer in POINTERS[name]:
        args = arguments(name)
        args[pointer] = END - length_of(name, pointer, args)
        assert getattr(program, name)(*args) != -7
        image = program.read(0, END)
        for beyond in (1, 2**31):
            outside = [*args]
            outside[pointer] += beyond
            assert getattr(program, name)(*outside) == -7
        for position in LENGTHS[name]:  # a length that would wrap around
            outside = [*args]
            outside[position] = 2**32 - 1
            assert getattr(program, name)(*outside) == -7
        assert program.read(0, END) == image


@pytest.mark.parametrize("field", ["module", "entry", "input", "output"])
def test_case_10_the_ranges_inside_a_request_are_checked_too(program: Program, field: str) -> None:
    at = 8 * ["module", "entry", "input", "output"].index(field)
    for pointer, length in ((END - 8, 9), (END, 1), (END + 1, 0), (2**32 - 1, 1), (8, 2**32 - 1)):
        program.write(TEXT, bytes(56))
        program.write(TEXT + at, pointer.to_bytes(4, "little") + length.to_bytes(4, "little"))
        program.write(OUT, b"\xee" * 24)
        assert program.tasklet_submit(TEXT, OUT) == -7
        assert program.read(OUT, 24) == b"\xee" * 24


#: Calls on a lease, with arguments that are wrong in a way that is only told when the lease is usable.
ON_MEMORY: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "fbmu_read_lease": lambda lease, ptr: (lease, 2**64 - 1, ptr, 1),
    "fbmu_write_lease": lambda lease, ptr: (lease, 2**63, ptr, 1),
    "fbmu_renew": lambda lease, ptr: (lease, 2**64 - 1, ptr),
}
ON_BLOCKS: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "fbbu_read_block_lease": lambda lease, ptr: (lease, 2**64 - 1, ptr),
    "fbbu_write_block_lease": lambda lease, ptr: (lease, 2**55, ptr),
    "fbbu_renew": lambda lease, ptr: (lease, 2**64 - 1, ptr),
}
ON_GPU: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "gpu_lease_renew": lambda lease, ptr: (lease, 2**64 - 1, ptr),
    "gpu_session_mem_alloc": lambda lease, ptr: (lease, 0, ptr),
    "gpu_session_mem_write": lambda lease, ptr: (lease, 7, 2**64 - 1, ptr, 1),
    "gpu_session_mem_read": lambda lease, ptr: (lease, 7, 2**64 - 1, ptr, 1),
    "gpu_session_module_load": lambda lease, ptr: (lease, DATA, 0, ptr),
    "gpu_session_launch": lambda lease, ptr: (lease, 7, ptr, 1, DATA, DATA, 3, DATA, 0),
}
#: The same without a pointer: nothing but the lease can be wrong with them.
ON_ANY_MEMORY = ("fbmu_free",)
ON_ANY_BLOCKS = ("fbbu_free",)
ON_ANY_GPU = ("gpu_lease_free", "gpu_session_sync")


def gpu_lease(program: Program) -> int:
    assert program.gpu_lease_alloc(0, 4096, 10, OUT) == 0
    return program.word()


#: Calls with and without a pointer, and how to get a lease.
KINDS: dict[str, tuple[Any, tuple[str, ...], Callable[[Program], int]]] = {
    "memory": (ON_MEMORY, ON_ANY_MEMORY, lambda program: program.fbmu(64, 10)),
    "blocks": (ON_BLOCKS, ON_ANY_BLOCKS, lambda program: program.fbbu(8, 10)),
    "gpu": (ON_GPU, ON_ANY_GPU, gpu_lease),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]


def test_an_ended_lease_is_told_before_all_that_is_wrong_besides(
    programs: Programs, mock_fabric: MockFabric, kind: Any
) -> None:
    """Spec fabric.md 3.5: range, unknown, fenced, revoked, expired; and only then bounds and handles."""
    pointed, plain, lease_of = kind
    program, stranger = programs(), programs(tenant="other")
    free = getattr(program, next(name for name in plain if name.endswith("free")))
    fenced, revoked, expired = (lease_of(program) for _ in range(3))
    foreign = lease_of(stranger)
    mock_fabric.fail_next_teardown(fenced)
    assert free(fenced) == -3
    assert free(revoked) == 0
    mock_advance_time_secs(11)  # the time of the others is over as well
    for lease, code in (
        (1, -8),
        (0, -8),
        (2**64 - 1, -8),
        (foreign, -8),
        (fenced, -3),
        (revoked, -6),
        (expired, -2),
    ):
        for name, args in pointed.items():
            assert getattr(program, name)(*args(lease, OUT)) == code, name
            assert getattr(program, name)(*args(lease, END)) == -7, name
        for name in plain:
            assert getattr(program, name)(lease) == code, name


def test_wrong_arguments_of_a_usable_lease_are_told_in_turn(program: Program, kind: Any) -> None:
    pointed, _, lease_of = kind
    lease = lease_of(program)
    for name, args in pointed.items():
        if not name.endswith("renew"):
            image = program.read(0, END)
            bad_handle, bad_image, bad_launch = -257, -258, -261
            codes = {bad_handle, bad_image, bad_launch} if pointed is ON_GPU else {-4}
            assert getattr(program, name)(*args(lease, OUT)) in codes, name
            assert program.read(0, END) == image


def test_forgotten_ids_are_like_ids_that_never_were(program: Program) -> None:
    ids = program.fbmu(64, 10), program.fbbu(8, 10)
    mock_advance_time_secs(10 + 3600)
    assert (program.fbmu_query(ids[0], OUT), program.fbbu_query(ids[1], OUT)) == (0, 0)
    assert (program.fbmu_free(ids[0]), program.fbbu_free(ids[1])) == (-2, -2)
    mock_advance_time_secs(1)
    assert (program.fbmu_query(ids[0], OUT), program.fbbu_query(ids[1], OUT)) == (-8, -8)
    assert (program.fbmu_free(ids[0]), program.fbbu_free(ids[1])) == (-8, -8)


@pytest.mark.parametrize("name", [*ROWS, "unix_time_secs"])
def test_case_21_every_wrong_import_type_is_refused_naming_both(
    guest_host: guesthouse.Host, name: str
) -> None:
    row = next(row for row in FUNCTIONS if row.name == name)
    words = {"i": "i32", "I": "i64"}

    def told(params: str, results: str) -> str:
        result = "".join(words[kind] for kind in results) or "()"
        return f"({', '.join(words[kind] for kind in params)}) -> {result}"

    other = {"i": "I", "I": "i"}
    wrong = [(row.params + "i", row.results), (row.params, other[row.results]), (row.params, "")]
    if row.params:
        wrong += [(other[row.params[0]] + row.params[1:], row.results), (row.params[1:], row.results)]
    for params, results in wrong:
        module = mirror([dataclasses.replace(row, params=params, results=results)])
        with pytest.raises(guesthouse.WrongImportType) as caught:
            guest_host.load(module, name="wrong", grant=["grafos"])
        assert told(row.params, row.results) in str(caught.value)
        assert told(params, results) in str(caught.value)


def test_a_clock_that_is_set_back_neither_ends_nor_extends_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = itertools.count(2_000_000_000 * 10**9, -(10**15))
    monkeypatch.setattr(time, "time_ns", lambda: next(wall))
    clock = LeaseClock()
    first = clock.now_ns()
    assert 2_000_000_000 <= clock.now() <= 2_000_000_100
    assert first <= clock.now_ns() <= first + 100 * 10**9
