"""One behavioural suite for every global tier (`GlobalTier`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from guesthouse.resources.state import GlobalTier
from guesthouse.resources.state.errors import QuotaExceeded, SizeMismatch

PLENTY = 1 << 40


def put(tier: GlobalTier, key: bytes, data: bytes, tenant: str = "t", start: int = 0, size: int = 0) -> int:
    return tier.write(tenant, key, size or len(data), [(start, memoryview(data))], PLENTY)


def get(
    tier: GlobalTier, key: bytes, size: int, start: int = 0, length: int | None = None, tenant: str = "t"
) -> bytes:
    into = bytearray(size - start if length is None else length)
    assert tier.read(tenant, key, size, start, memoryview(into)) is not None
    return bytes(into)


def test_absent_value_has_no_size_and_leaves_the_buffer_alone(tier: GlobalTier) -> None:
    into = bytearray(b"abc")
    assert tier.size("t", b"k") is None
    assert tier.read("t", b"k", 3, 0, memoryview(into)) is None
    assert into == b"abc"


def test_round_trip_of_binary_and_empty_values(tier: GlobalTier) -> None:
    data = bytes(range(256)) * 3
    put(tier, b"odd\xff\x01_key", data)
    tier.write("t", b"empty", 0, [], PLENTY)
    assert get(tier, b"odd\xff\x01_key", len(data)) == data
    assert tier.size("t", b"empty") == 0
    assert tier.keys("t") == [b"empty", b"odd\xff\x01_key"]


def test_tenants_and_keys_cannot_be_confused(tier: GlobalTier) -> None:
    put(tier, b"c", b"one", tenant="a_b")
    put(tier, b"b_c", b"two", tenant="a")
    assert get(tier, b"c", 3, tenant="a_b") == b"one"
    assert get(tier, b"b_c", 3, tenant="a") == b"two"
    assert tier.keys("a") == [b"b_c"]


def test_runs_across_three_transfer_pieces(tier: GlobalTier) -> None:
    size = 3 * 65536 + 123
    data = bytes(i * 7 % 251 for i in range(size))
    put(tier, b"k", data)
    changed = bytearray(data)
    runs = [(5, b"x" * 3), (65530, b"y" * 12), (131072, b"z" * 65536), (size - 1, b"!")]
    for start, piece in runs:
        changed[start : start + len(piece)] = piece
    tier.write("t", b"k", size, [(start, memoryview(piece)) for start, piece in runs], PLENTY)
    assert get(tier, b"k", size) == changed
    assert get(tier, b"k", size, 65000, 70000) == changed[65000 : 65000 + 70000]


def test_first_run_creates_zeros_elsewhere(tier: GlobalTier) -> None:
    put(tier, b"k", b"ab", start=100_000, size=200_000)
    assert get(tier, b"k", 200_000) == bytes(100_000) + b"ab" + bytes(99_998)


def test_size_is_fixed_by_the_first_write(tier: GlobalTier) -> None:
    put(tier, b"k", b"1234")
    with pytest.raises(SizeMismatch):
        put(tier, b"k", b"12345")
    with pytest.raises(SizeMismatch):
        get(tier, b"k", 5)
    assert get(tier, b"k", 4) == b"1234"


def test_versions_grow_with_every_write(tier: GlobalTier) -> None:
    first = put(tier, b"k", b"1")
    assert first > 0
    assert put(tier, b"k", b"2") == first + 1
    assert tier.read("t", b"k", 1, 0, memoryview(bytearray(1))) == first + 1
    tier.delete("t", b"k")
    assert put(tier, b"k", b"1") not in range(first - 10, first + 10)


def test_failed_write_changes_nothing(tier: GlobalTier) -> None:
    put(tier, b"k", b"12345678")

    def runs() -> Iterator[tuple[int, memoryview]]:
        yield 0, memoryview(b"X")
        raise KeyboardInterrupt

    if type(tier).__name__ == "MemoryTier":
        pytest.skip("the memory tier applies runs in place; its runs cannot fail half-way")
    with pytest.raises(KeyboardInterrupt):
        tier.write("t", b"k", 8, runs(), PLENTY)
    assert get(tier, b"k", 8) == b"12345678"


def test_value_quota(tier: GlobalTier) -> None:
    tier.write("t", b"a", 60, [], 600)
    with pytest.raises(QuotaExceeded):
        tier.write("t", b"b", 41, [], 600)
    assert tier.size("t", b"b") is None
    tier.write("other", b"b", 41, [], 600)
    tier.delete("t", b"a")
    tier.write("t", b"b", 41, [], 600)


def test_delete_then_create_anew(tier: GlobalTier) -> None:
    put(tier, b"k", b"1234")
    tier.append("t", b"k", b"x", PLENTY)
    assert tier.delete("t", b"k")
    assert not tier.delete("t", b"k")
    assert tier.size("t", b"k") is None and tier.appended("t", b"k", None) == []
    put(tier, b"k", b"ab")
    assert get(tier, b"k", 2) == b"ab"


def test_appended_elements_keep_order_and_boundaries(tier: GlobalTier) -> None:
    elements = [b"one", b"", b"\x00\xff", b"four"]
    for element in elements:
        tier.append("t", b"k", element, PLENTY)
    assert tier.appended("t", b"k", None) == elements
    assert tier.appended("t", b"k", 2) == elements[:2]
    assert tier.appended("t", b"k", 9) == elements
    assert tier.size("t", b"k") is None  # a list is independent of the value
    tier.clear("t", b"k")
    assert tier.appended("t", b"k", None) == []
    tier.append("t", b"k", b"again", PLENTY)
    assert tier.appended("t", b"k", 1) == [b"again"]


def test_list_quota_counts_empty_elements_and_is_given_back(tier: GlobalTier) -> None:
    tier.append("t", b"k", b"", 140)
    tier.append("t", b"l", b"", 140)
    with pytest.raises(QuotaExceeded):
        tier.append("t", b"k", b"", 140)
    tier.clear("t", b"k")
    tier.append("t", b"k", b"", 140)


def test_appends_of_many_threads_neither_interleave_nor_vanish(tier: GlobalTier) -> None:
    def work(number: int) -> None:
        for i in range(40):
            tier.append("t", b"k", f"{number}:{i}:".encode() + bytes([number]) * 50, PLENTY)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [element.split(b":", 2) for element in tier.appended("t", b"k", None)]
    assert all(filler == bytes([int(number)]) * 50 for number, _, filler in found)
    for n in range(6):
        assert [int(i) for number, i, _ in found if int(number) == n] == list(range(40))


def test_disjoint_writes_of_many_threads_all_survive(tier: GlobalTier) -> None:
    size = 200_000
    put(tier, b"k", bytes(size))

    def work(number: int) -> None:
        for i in range(number, size, 16 * 1000):
            tier.write("t", b"k", size, [(i, memoryview(bytes([number + 1])))], PLENTY)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = get(tier, b"k", size)
    assert all(data[i] == n + 1 for n in range(8) for i in range(n, size, 16 * 1000))
