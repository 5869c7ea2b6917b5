"""The lease journal under torn writes and damage (spec fabric.md 10)."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from guesthouse.errors import ResourceError
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.resources.leases.engine import LeaseEngine
from guesthouse.resources.leases.journal import Journal
from guesthouse.resources.leases.status import LeaseError
from guesthouse.resources.memory.arena import Memory

RECORDS = [("grant", 1 << 62, "tenant", 5), ("renew", 7, 1), ("note", "key", 1, 2, 3)]


def written(path: Path, *, durable: bool = True) -> bytes:
    journal = Journal(path, durable=durable)
    list(journal.replay())
    for record in RECORDS:
        journal.append(record)
    journal.close()
    return path.read_bytes()


def replayed(path: Path) -> list[tuple[object, ...]]:
    journal = Journal(path)
    records = list(journal.replay())
    journal.close()
    return records


def test_records_come_back_in_order(tmp_path: Path) -> None:
    written(tmp_path / "j")
    assert replayed(tmp_path / "j") == RECORDS


def test_a_process_that_dies_with_a_mapped_journal_loses_nothing(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        journal = Journal(tmp_path / "j", durable=False)
        for number in range(50_000):
            journal.append(("renew", number, 2**63 - number))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / "j").stat().st_size % (1 << 20) == 0
    assert replayed(tmp_path / "j") == [("renew", number, 2**63 - number) for number in range(50_000)]


def test_a_tear_at_any_byte_costs_the_torn_record_and_nothing_else(tmp_path: Path) -> None:
    whole = written(tmp_path / "j")
    kept = []
    for length in range(len(whole)):
        (tmp_path / "torn").write_bytes(whole[:length])
        records = replayed(tmp_path / "torn")
        assert records == RECORDS[: len(records)]
        kept.append(len(records))
        journal = Journal(tmp_path / "torn")  # and it goes on behind the cut
        list(journal.replay())
        journal.append(("renew", 9, 9))
        journal.close()
        assert replayed(tmp_path / "torn") == [*records, ("renew", 9, 9)]
    assert kept == sorted(kept) and kept[-1] == len(RECORDS) - 1


def test_damage_in_the_middle_is_refused_and_says_where(tmp_path: Path) -> None:
    whole = bytearray(written(tmp_path / "j"))
    whole[14] ^= 1
    (tmp_path / "j").write_bytes(whole)
    with pytest.raises(ResourceError, match="damaged at byte 4"):
        replayed(tmp_path / "j")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"something else entirely")
    with pytest.raises(ResourceError, match="no lease journal"):
        replayed(tmp_path / "j")


def test_a_rewrite_replaces_everything_at_once(tmp_path: Path) -> None:
    written(tmp_path / "j")
    journal = Journal(tmp_path / "j")
    list(journal.replay())
    with journal.rewriting() as fresh:
        fresh.append(("note", "only", 1))
        assert replayed(tmp_path / "j") == RECORDS  # a crash here loses nothing
    journal.append(("note", "more", 2))
    journal.close()
    assert replayed(tmp_path / "j") == [("note", "only", 1), ("note", "more", 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_a_rewrite_that_fails_changes_nothing(tmp_path: Path) -> None:
    written(tmp_path / "j")
    journal = Journal(tmp_path / "j")
    list(journal.replay())
    with pytest.raises(OSError, match="no more"), journal.rewriting() as fresh:
        fresh.append(("note", "half", 1))
        raise OSError("no more")
    journal.append(("note", "more", 2))
    journal.close()
    assert replayed(tmp_path / "j") == [*RECORDS, ("note", "more", 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


class Endless:
    """A backing of which there is more than anybody can count, with nothing in it."""

    size, grain = 2**50, 1

    def admit(self, start: int, units: int, generation: int) -> None: ...

    def claim(self, start: int, units: int, generation: int) -> None: ...

    def scrub(self, start: int, units: int) -> None: ...


@pytest.mark.parametrize("durable", [True, False], ids=["written", "mapped"])
def test_the_engines_records_are_read_again_whatever_their_numbers(tmp_path: Path, durable: bool) -> None:
    """Lengths and checksums are made natively, and checked by the standard library here."""
    names = ["", "t", "\u00e4" * 20, "x" * 300, "\U0001f600" * 10_000]
    amounts = [1, 127, 128, 2**16, 2**32 - 1, 2**32, 2**45]
    for now in (-(10**9), 0, 2**31, 2**33 - 90_000):
        path = tmp_path / f"{now}"
        clock = VirtualClock(now)
        engine = LeaseEngine(
            "test", Endless(), clock, quota=2**62, default_amount=1, journal=Journal(path, durable=durable)
        )
        granted = [engine.grant(name, amount, 86_400) for name in names for amount in amounts]
        for lease in granted[::3]:
            engine.renew(lease.tenant, lease.id, 86_400)
        for lease in granted[1::3]:
            engine.free(lease.tenant, lease.id)
        engine.fail_next_teardown(granted[2].id)
        with pytest.raises(LeaseError):
            engine.free(granted[2].tenant, granted[2].id)
        seen = [(lease.id, lease.capacity, lease.expires_at, lease.status) for lease in granted]
        for _ in range(2):  # what was appended, and what was rewritten at the first start
            engine.close()
            engine = LeaseEngine(
                "test",
                Endless(),
                clock,
                quota=2**62,
                default_amount=1,
                journal=Journal(path, durable=durable),
            )
            known = [engine.query(lease.tenant, lease.id) for lease in granted]
            assert [(lease.id, lease.capacity, lease.expires_at, lease.status) for lease in known] == seen
            assert [(lease.start, lease.units) for lease in known] == [
                (lease.start, lease.units) for lease in granted
            ]
        engine.close()


def test_a_name_that_no_record_holds_is_refused(tmp_path: Path) -> None:
    memory = Memory(VirtualClock(), journal=Journal(tmp_path / "j"))
    with pytest.raises(LeaseError, match=r"cannot write .*: File too large"):
        memory.leases.grant("x" * 70_000, 1, 1)
    assert memory.leases.tenant("x" * 70_000).used == 0
    memory.leases.grant("t", 1 << 26, 1)  # and nothing is lost
    memory.close()


def test_a_journal_that_cannot_be_written_refuses_and_changes_nothing(tmp_path: Path) -> None:
    memory = Memory(VirtualClock(), arena=8192, journal=Journal(tmp_path / "j"))
    lease = memory.leases.grant("t", 4096, 60)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "j").stat().st_size + 20, limits[1]))
        for operation in (
            lambda: memory.leases.grant("t", 4096, 60),
            lambda: memory.leases.renew("t", lease.id, 100),
            lambda: memory.leases.free("t", lease.id),
        ):
            with pytest.raises(LeaseError, match=r"cannot write .*: File too large"):
                operation()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    assert (lease.status, lease.expires_at) == (0, VirtualClock().now() + 60)
    assert memory.leases.tenant("t").used == 4096
    memory.leases.free("t", memory.leases.grant("t", 4096, 60).id)
    memory.leases.free("t", lease.id)
    memory.close()
    assert [record[0] for record in replayed(tmp_path / "j")] == [
        "generation", "grant", "grant", "end", "end"
    ]  # fmt: skip


def test_memory_leases_answer_as_revoked_after_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()
    memory = Memory(clock, journal=Journal(tmp_path / "j"))
    lease, freed = memory.leases.grant("t", 4096, 60), memory.leases.grant("t", 4096, 60)
    memory.leases.free("t", freed.id)
    memory.close()

    memory = Memory(clock, journal=Journal(tmp_path / "j"))
    assert [memory.leases.query("t", ident).status for ident in (lease.id, freed.id)] == [2, 2]
    with pytest.raises(LeaseError) as caught:
        memory.read("t", lease.id, 0, 1)
    assert caught.value.code == -6
    assert memory.leases.tenant("t").used == 0
    assert memory.leases.grant("t", 1, 1).generation > freed.generation
    memory.close()


def test_the_journal_does_not_grow_without_bound(tmp_path: Path) -> None:
    clock = VirtualClock()
    memory = Memory(clock, journal=Journal(tmp_path / "j", durable=False))
    for _ in range(120):
        for _ in range(1000):
            memory.leases.free("t", memory.leases.grant("t", 1, 10).id)
        clock.advance(3602)
    assert memory.leases.journal.records < 110_000
    memory.close()


def test_a_restart_forgets_by_the_same_rules(tmp_path: Path) -> None:
    clock = VirtualClock()
    memory = Memory(clock, journal=Journal(tmp_path / "j", durable=False))
    ids = []
    for _ in range(65_536 + 3):
        lease = memory.leases.grant("t", 1, 10)
        memory.leases.free("t", lease.id)
        ids.append(lease.id)
    memory.close()
    memory = Memory(clock, journal=Journal(tmp_path / "j", durable=False))
    assert len(memory.leases.held_by("t")) == 65_536
    assert memory.leases.query("t", ids[-1]).status == 2
    with pytest.raises(LeaseError):
        memory.leases.query("t", ids[0])
    memory.close()
    clock.advance(3602)
    memory = Memory(clock, journal=Journal(tmp_path / "j", durable=False))
    assert memory.leases.held_by("t") == []
    memory.close()
