"""The lease journal under torn writes and damage (spec fabric.md 10)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from guesthouse.errors import ResourceError
from guesthouse.resources.leases.clock import VirtualClock
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
    journal.rewrite([("note", "only", 1)])
    journal.append(("note", "more", 2))
    journal.close()
    assert replayed(tmp_path / "j") == [("note", "only", 1), ("note", "more", 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


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
