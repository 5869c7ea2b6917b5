"""Random lives of leases: every backend answers as the model does, in status and bytes (case 20)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.grafos.model import Model

from guesthouse.resources.blocks.pool import Blocks
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.resources.leases.status import LeaseError
from guesthouse.resources.memory.arena import Memory
from guesthouse.testing import MockFabric

QUOTA = 4096
TENANTS = ("red", "blue")

tenants = st.sampled_from(TENANTS)
keys = st.integers(0, 9)
offsets = st.one_of(st.integers(0, 40), st.integers(QUOTA - 8, QUOTA + 8), st.integers(2**64 - 16, 2**64 - 1))
ttls = st.one_of(st.integers(0, 400), st.sampled_from([86_400, 86_401, 2**64 - 1]))
amounts = st.one_of(st.integers(0, 64), st.integers(0, QUOTA + 1), st.just(2**64 - 1))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("alloc"), tenants, amounts, ttls),
        st.tuples(st.just("renew"), tenants, keys, ttls),
        st.tuples(st.just("free"), tenants, keys),
        st.tuples(st.just("write"), tenants, keys, offsets, st.binary(min_size=0, max_size=20)),
        st.tuples(st.just("read"), tenants, keys, offsets, st.integers(0, 60)),
        st.tuples(st.just("query"), tenants, keys),
        st.tuples(st.just("time"), st.integers(-50, 500)),
        st.tuples(st.just("fail"), keys),
        st.tuples(st.just("unfence"), keys),
    ),
    max_size=60,
)


class BytesOfMemory:
    """A lease's bytes are its cells."""

    default = 65_536

    def __init__(self, directory: Path, clock: VirtualClock) -> None:
        self.resource = Memory(clock, arena=QUOTA, pool=1 << 24)

    def write(self, tenant: str, ident: int, first: int, values: bytes) -> None:
        self.resource.write(tenant, ident, first, values)

    def read(self, tenant: str, ident: int, first: int, count: int) -> bytes:
        data: bytes = self.resource.read(tenant, ident, first, count)
        return data


class BlocksInMemory:
    """A lease's blocks are its cells; each holds one value, repeated."""

    default = 128
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, directory: Path, clock: VirtualClock) -> None:
        self.resource = Blocks(clock, self.path(directory), blocks=QUOTA, pool=1 << 17, **self.options)

    def path(self, directory: Path) -> Path | None:
        return None

    def write(self, tenant: str, ident: int, first: int, values: bytes) -> None:
        self.probe(tenant, ident, first, len(values))
        for at, value in enumerate(values, first):
            self.resource.write(tenant, ident, at, bytes([value]) * 512)

    def read(self, tenant: str, ident: int, first: int, count: int) -> bytes:
        self.probe(tenant, ident, first, count)
        blocks = [self.resource.read(tenant, ident, at) for at in range(first, first + count)]
        assert all(block == block[:1] * 512 for block in blocks), "a block of two writes"
        return bytes(block[0] for block in blocks)

    def probe(self, tenant: str, ident: int, first: int, count: int) -> None:
        if first + count > self.resource.leases.usable(tenant, ident).capacity:
            raise LeaseError(-4)


class BlocksInFile(BlocksInMemory):
    """The same in a sparse file with a journal."""

    def path(self, directory: Path) -> Path | None:
        return directory / "pool.blk"


class BlocksDirect(BlocksInFile):
    """The same past the page cache."""

    options: ClassVar[dict[str, Any]] = {"direct": True}


class MockMemory(BytesOfMemory):
    """The mock's memory, under the mock's clock."""

    def __init__(self, directory: Path, clock: VirtualClock) -> None:
        self.fabric = MockFabric()
        self.fabric.set_arena_size(QUOTA)
        self.resource = self.fabric.memory


class MockBlocks(BlocksInMemory):
    """The mock's blocks, likewise."""

    def __init__(self, directory: Path, clock: VirtualClock) -> None:
        self.fabric = MockFabric()
        self.fabric.set_num_blocks(QUOTA)
        self.resource = self.fabric.blocks


def status_of(call: Any, *args: Any) -> Any:
    try:
        return call(*args)
    except LeaseError as error:
        return error.code


class Pair:
    """A backend and the model, driven side by side."""

    def __init__(self, backend: Any, directory: Path) -> None:
        self.subject = backend(directory, VirtualClock())
        self.clock = self.subject.resource.leases.clock
        self.leases = self.subject.resource.leases
        self.model = Model(QUOTA, self.subject.default, self.clock.now())
        self.issued: list[int] = []  # ids; a lease's position is its name in the model

    def id_of(self, key: int) -> int:
        return self.issued[key] if key < len(self.issued) else 1000 + key

    def time(self, step: int) -> None:
        moment = self.clock.now() + step
        self.clock.set(moment)
        self.model.set_time(moment)

    def alloc(self, tenant: str, amount: int, ttl: int) -> None:
        lease = status_of(self.leases.grant, tenant, amount, ttl)
        expected = self.model.alloc(tenant, len(self.issued), amount, ttl)
        if expected < 0:
            assert lease == expected
            return
        twin = self.model.leases[len(self.issued)]
        assert (lease.capacity, lease.expires_at, lease.status) == (twin.capacity, twin.expires, 0)
        assert 0 < lease.id < 2**63 and lease.id not in self.issued
        self.issued.append(lease.id)

    def query(self, tenant: str, key: int) -> None:
        answer = status_of(self.leases.query, tenant, self.id_of(key))
        if self.model.check(tenant, key) == -8:
            assert answer == -8
        else:
            twin = self.model.leases[key]
            assert (answer.status, answer.expires_at) == (twin.status, twin.expires)

    def renew(self, tenant: str, key: int, ttl: int) -> None:
        assert status_of(self.leases.renew, tenant, self.id_of(key), ttl) == self.model.renew(
            tenant, key, ttl
        )

    def free(self, tenant: str, key: int) -> None:
        got = status_of(self.leases.free, tenant, self.id_of(key)) or 0
        assert got == self.model.free(tenant, key)

    def fail(self, key: int) -> None:
        if key < len(self.issued) and self.model.leases[key].status == 0:
            self.leases.fail_next_teardown(self.id_of(key))
            self.model.leases[key].fail_teardown = True

    def unfence(self, key: int) -> None:
        assert (status_of(self.leases.unfence, self.id_of(key)) or 0) == self.model.unfence(key)

    def write(self, tenant: str, key: int, first: int, values: bytes) -> None:
        got = status_of(self.subject.write, tenant, self.id_of(key), first, values) or 0
        assert got == self.model.write(tenant, key, first, values)

    def read(self, tenant: str, key: int, first: int, count: int) -> None:
        got = status_of(self.subject.read, tenant, self.id_of(key), first, count)
        assert got == self.model.read(tenant, key, first, count)


BACKENDS = [BytesOfMemory, BlocksInMemory, BlocksInFile, BlocksDirect, MockMemory, MockBlocks]


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=operations)
def test_case_20_random_operations_answer_as_the_model_does(backend: Any, script: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        pair = Pair(backend, Path(directory))
        try:
            for name, *args in script:
                getattr(pair, name)(*args)
        finally:
            pair.subject.resource.close()
