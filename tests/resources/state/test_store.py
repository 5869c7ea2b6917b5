"""The two tiers together: laziness, dirty runs, pushes and pulls, sizes, quotas (faasm.md section 4)."""

from __future__ import annotations

import pytest

from guesthouse.resources.state import GlobalTier, Quota, StateStore
from guesthouse.resources.state.errors import (
    BackendLost,
    InvalidKey,
    OutOfRange,
    QuotaExceeded,
    SizeMismatch,
    SizeUnknown,
)

Hosts = tuple[StateStore, StateStore]
BIG = 3 * 65536 + 123  # more than three transfer pieces


def test_write_is_local_until_pushed(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"1234")
    assert here.size(b"k") == 4
    assert there.size(b"k") == 0
    here.push(b"k")
    assert there.size(b"k") == 4
    assert there.read(b"k") == b"1234"


def test_tenants_do_not_see_one_another(hosts: Hosts) -> None:
    host, _ = hosts
    host.session("a_b", 1).write(b"c", b"secret")
    assert host.session("a", 1).size(b"b_c") == 0
    assert host.session("a_b", 2).read(b"c") == b"secret"


def test_lazy_read_does_not_refetch_but_pull_does(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"old!")
    here.push(b"k")
    assert there.read(b"k") == b"old!"
    here.write(b"k", b"new!")
    here.push(b"k")
    assert there.read(b"k") == b"old!"
    there.pull(b"k", 4)
    assert there.read(b"k") == b"new!"


def test_only_the_range_that_is_read_is_fetched(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    data = bytes(i % 253 for i in range(BIG))
    here.write(b"k", data)
    here.push(b"k")
    assert there.read_range(b"k", BIG, 100, 50) == data[100:150]
    assert hosts[1].usage("t")["pulled"] == 50
    assert there.read_range(b"k", BIG, 120, 80) == data[120:200]
    assert hosts[1].usage("t")["pulled"] == 100
    assert there.read(b"k") == data


def test_clean_push_leaves_newer_global_data(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"aaaa")
    here.push(b"k")
    there.read(b"k")
    there.write(b"k", b"bbbb")
    there.push(b"k")
    moved = hosts[0].usage("t")["pushed"]
    here.push(b"k")
    assert hosts[0].usage("t")["pushed"] == moved
    assert hosts[0].tier.size("t", b"k") == 4
    here.pull(b"k")
    assert here.read(b"k") == b"bbbb"


def test_partial_push_moves_only_dirty_runs(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", bytes(BIG))
    here.push(b"k")
    before = hosts[0].usage("t")
    here.write_range(b"k", BIG, 10, b"abc")
    here.write_range(b"k", BIG, 11, b"xyz")
    here.write_range(b"k", BIG, BIG - 1, b"!")
    here.push_partial(b"k")
    after = hosts[0].usage("t")
    assert after["pushed"] - before["pushed"] == 5
    assert after["pulled"] == before["pulled"]  # nobody else pushed: nothing to fetch
    assert there.read_range(b"k", 0, 9, 6) == b"\0axyz\0"


def test_disjoint_partial_pushes_of_two_hosts_both_survive(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"........")
    here.push(b"k")
    there.read(b"k")
    here.write_range(b"k", 8, 0, b"AA")
    there.write_range(b"k", 8, 4, b"BB")
    here.push_partial(b"k")
    there.push_partial(b"k")
    assert there.read(b"k") == b"AA..BB.."  # the partial push refreshed the local copy
    here.pull(b"k")
    assert here.read(b"k") == b"AA..BB.."


def test_locally_dirty_bytes_win_over_a_later_fetch(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"........")
    here.push(b"k")
    there.write_range(b"k", 8, 2, b"XY")
    assert there.read(b"k") == b"..XY...."


def test_pushing_a_part_does_not_overwrite_bytes_that_never_were_here(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"12345678")
    here.push(b"k")
    there.write_range(b"k", 8, 2, b"XY")
    there.flag_dirty(b"k", 8)
    there.push(b"k")
    here.pull(b"k")
    assert here.read(b"k") == b"12XY5678"


def test_overlapping_offset_writes(hosts: Hosts) -> None:
    host = hosts[0].session("t", 1)
    host.write(b"k", bytes([0, 1, 2, 3, 4, 5, 6]))
    host.push(b"k")
    host.write_range(b"k", 7, 0, bytes([5, 5]))
    host.write_range(b"k", 7, 2, bytes([6, 6]))
    host.push(b"k")
    host.pull(b"k", 7)
    assert host.read_range(b"k", 7, 0, 7) == bytes([5, 5, 6, 6, 4, 5, 6])


def test_masked_push_sends_what_the_mask_selects(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"........")
    here.push(b"k")
    here.write_range(b"k", 8, 0, b"ABCDEFGH")
    here.write(b"m", bytes([0, 1, 0, 0, 255, 0, 0, 0]))
    here.push_masked(b"k", b"m")
    assert here.read(b"m") == bytes(8)
    assert there.read(b"k") == b".B..E..."
    assert here.read(b"k") == b".B..E..."  # unselected dirty bytes are lost
    moved = hosts[0].usage("t")["pushed"]
    here.push(b"k")
    assert hosts[0].usage("t")["pushed"] == moved  # clean now


def test_masked_push_of_a_clean_value_or_with_another_size(hosts: Hosts) -> None:
    host = hosts[0].session("t", 1)
    host.write(b"k", b"....")
    host.push(b"k")
    host.write(b"m", b"\1\1\1\1")
    host.push_masked(b"k", b"m")
    assert host.read(b"m") == b"\1\1\1\1"
    host.write(b"short", b"\1")
    with pytest.raises(SizeMismatch, match="ifferent sizes"):
        host.push_masked(b"k", b"short")


def test_absent_key_reads_as_zeros_once_a_size_is_named(hosts: Hosts) -> None:
    host = hosts[0].session("t", 1)
    assert host.size(b"k") == 0
    assert host.read(b"k") == b""
    assert host.read_range(b"k", 10, 2, 3) == bytes(3)
    assert host.size(b"k") == 10


@pytest.mark.parametrize("action", ["push", "push_partial", "pull", "flag_dirty"])
def test_unsized_operation_on_an_unknown_key_says_size(hosts: Hosts, action: str) -> None:
    with pytest.raises(SizeUnknown, match="size"):
        getattr(hosts[0].session("t", 1), action)(b"nobody")
    assert hosts[0].usage("t")["keys"] == 0


def test_ranges_outside_the_value_are_refused(hosts: Hosts) -> None:
    host = hosts[0].session("t", 1)
    host.write(b"k", b"12345")
    for start, length in [(5, 1), (0, 6), (2**63, 1), (1, 2**64 - 1), (6, 0)]:
        with pytest.raises(OutOfRange, match="out of bounds"):
            host.read_range(b"k", 5, start, length)
    with pytest.raises(OutOfRange):
        host.write_range(b"k", 5, 4, b"ab")
    with pytest.raises(OutOfRange):
        host.flag_dirty(b"k", 5, 3, 3)
    assert host.read_range(b"k", 5, 5, 0) == b""
    assert host.read(b"k") == b"12345"


def test_size_is_fixed_at_first_use(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"1234")
    with pytest.raises(SizeMismatch):
        here.write(b"k", b"12345")
    here.push(b"k")
    assert there.read_range(b"k", 100, 0, 4) == b"1234"  # the global size prevails
    with pytest.raises(OutOfRange):
        there.read_range(b"k", 100, 4, 1)


def test_two_hosts_create_the_same_key(hosts: Hosts) -> None:
    here, there = (host.session("t", 1) for host in hosts)
    here.write(b"k", b"1234")
    there.write(b"k", b"12345")
    here.push(b"k")
    with pytest.raises(SizeMismatch):
        there.push(b"k")
    assert hosts[1].forget("t", b"k")
    assert there.read(b"k") == b"1234"


def test_deletion_then_creation_with_another_size(hosts: Hosts) -> None:
    host = hosts[0]
    session = host.session("t", 1)
    session.write(b"k", b"1234")
    session.push(b"k")
    assert host.delete("t", b"k")
    assert not host.delete("t", b"k")
    assert session.size(b"k") == 0
    session.write(b"k", b"ab")
    assert session.read(b"k") == b"ab"


@pytest.mark.parametrize("data", [b"", b"\0\1\2", bytes(70_000)])
def test_host_side_put_and_get(hosts: Hosts, data: bytes) -> None:
    here, there = hosts
    assert here.get("t", b"k") is None
    here.session("t", 1).append(b"k", b"stays")
    here.put("t", b"k", b"something else")
    here.put("t", b"k", data)
    assert here.get("t", b"k") == data
    assert there.get("t", b"k") == data
    assert here.session("t", 1).appended(b"k") == [b"stays"]


def test_an_empty_value_takes_a_size_later(hosts: Hosts) -> None:
    session = hosts[0].session("t", 1)
    session.write(b"k", b"")
    session.push(b"k")
    session.write(b"k", b"abc")
    session.push(b"k")
    assert hosts[1].get("t", b"k") == b"abc"


def test_fresh_values_read_as_zeros_after_the_memory_of_others(tier: GlobalTier) -> None:
    host = StateStore(tier, capacity=1 << 20)
    for i in range(40):  # each takes the pages that the one before gave back
        session = host.session(f"tenant{i}", 1)
        assert session.read_range(b"k", 600_000, 0, 600_000) == bytes(600_000)
        session.write(b"k", b"\xaa" * 600_000)
        host.forget(f"tenant{i}", b"k")


def test_quota_of_keys_and_bytes_per_tenant(tier: GlobalTier) -> None:
    host = StateStore(tier, quota=Quota(keys=2, local_bytes=3 * 4096, global_bytes=5000, list_bytes=150))
    session = host.session("t", 1)
    session.write(b"a", bytes(4097))
    with pytest.raises(QuotaExceeded):
        session.write(b"b", bytes(4097))
    session.write(b"b", bytes(4096))
    with pytest.raises(QuotaExceeded):
        session.write(b"c", b"1")
    host.session("other", 1).write(b"c", b"1")
    session.push(b"a")
    with pytest.raises(QuotaExceeded):
        session.push(b"b")
    host.forget("t", b"b")
    session.write(b"c", b"1")
    with pytest.raises(QuotaExceeded):
        session.append(b"l", bytes(90))
    assert host.usage("t")["bytes"] <= 3 * 4096


def test_room_is_made_by_values_that_the_global_tier_has(tier: GlobalTier) -> None:
    host = StateStore(tier, quota=Quota(keys=3, local_bytes=3 * 4096))
    session = host.session("t", 1)
    for i in range(20):
        session.write(b"%d" % i, b"%4d" % i)
        session.push(b"%d" % i)
    assert host.usage("t")["keys"] <= 3 and host.usage("t")["bytes"] <= 3 * 4096
    assert [session.read(b"%d" % i) for i in range(20)] == [b"%4d" % i for i in range(20)]
    for i in range(20, 23):
        session.write(b"%d" % i, b"%4d" % i)  # not pushed: these stay, and nothing else fits
    with pytest.raises(QuotaExceeded):
        session.read(b"0")
    assert session.read(b"21") == b"  21"


def test_a_huge_value_costs_nothing_before_it_is_touched(hosts: Hosts) -> None:
    with pytest.raises(QuotaExceeded):
        hosts[0].session("t", 1).read_range(b"k", 2**63, 0, 1)
    session = hosts[0].session("t", 1)
    assert session.read_range(b"big", 900 << 20, 800 << 20, 4) == bytes(4)


@pytest.mark.parametrize("key", [b"", b"x" * 4097, b"a\0b"])
def test_keys_that_are_no_keys(hosts: Hosts, key: bytes) -> None:
    session = hosts[0].session("t", 1)
    for action in (session.size, session.read, session.push, lambda k: session.append(k, b"")):
        with pytest.raises(InvalidKey):
            action(key)
    with pytest.raises(InvalidKey):
        hosts[0].session("", 1)


def test_flush_drops_what_was_not_pushed(hosts: Hosts) -> None:
    session = hosts[0].session("t", 1)
    session.write(b"k", b"kept")
    session.push(b"k")
    session.write(b"k", b"lost")
    session.write(b"l", b"lost")
    hosts[0].flush()
    assert session.read(b"k") == b"kept"
    assert session.size(b"l") == 0


def test_reading_more_elements_than_there_are(hosts: Hosts) -> None:
    session = hosts[0].session("t", 1)
    session.append(b"k", b"one")
    assert session.appended(b"k", 1) == [b"one"]
    with pytest.raises(OutOfRange):
        session.appended(b"k", 2)


def test_lost_backend_is_a_typed_error_and_keeps_dirty_bytes(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = hosts[0].session("t", 1)
    session.write(b"k", b"1234")

    def lost(*_: object) -> int:
        raise BackendLost("no route to the tier")

    with monkeypatch.context() as patch:
        patch.setattr(hosts[0].tier, "write", lost)
        with pytest.raises(BackendLost):
            session.push(b"k")
    session.push(b"k")
    assert hosts[1].get("t", b"k") == b"1234"
