"""Everything that fabric guests can lease, wired together: one per host."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from guesthouse.errors import ResourceError
from guesthouse.interfaces.grafos.net import Network
from guesthouse.limits import Duration, Size, parse_duration, parse_size
from guesthouse.resources.blocks.pool import Blocks
from guesthouse.resources.gpu import probe
from guesthouse.resources.gpu.pool import Gpu
from guesthouse.resources.leases.clock import LeaseClock
from guesthouse.resources.leases.engine import LeaseEngine
from guesthouse.resources.leases.journal import Journal
from guesthouse.resources.leases.reaper import Reaper
from guesthouse.resources.memory.arena import Memory, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricOptions:
    """How much there is to lease, and where it is kept.

    Attributes:
        directory: where blocks and lease journals live; ``None`` keeps everything in memory.
        arena: bytes of memory that one tenant may lease.
        memory_pool: bytes of memory of all tenants together.
        blocks: 512-byte blocks that one tenant may lease, and the size of its device.
        block_pool: blocks of the whole pool.
        block_device: a block device or file to use instead of ``directory``/blocks.
        sync: when blocks are flushed: ``none``, ``interval``, ``each``.
        direct: bypass the page cache.
        gpu: ``auto``, ``cuda``, ``opencl``, ``cpu`` or ``off``.
        vram: bytes of GPU memory to lease; by default what the device has.
        interfaces: network interfaces that are offered, whatever their state; by default those that are up.
        hidden_interfaces: network interfaces that are never offered.
        link_speeds: bits per second of interfaces whose speed the kernel does not tell.
        tenants: quotas of single tenants, beside those above: ``arena``, ``blocks``, ``vram``.
        gpu_deadline: how long the device may work on one request; beyond, the session is lost.
    """

    directory: str | os.PathLike[str] | None = None
    arena: Size = "64MiB"
    memory_pool: Size = "1GiB"
    blocks: int = 131_072
    block_pool: int = 1 << 23
    block_device: str | os.PathLike[str] | None = None
    sync: str = "none"
    direct: bool = False
    gpu: str = "auto"
    vram: Size | None = None
    gpu_deadline: Duration = "30s"
    interfaces: Sequence[str] = ()
    hidden_interfaces: Sequence[str] = ()
    link_speeds: Mapping[str, int] = field(default_factory=dict)
    tenants: Mapping[str, Mapping[str, Size]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ResourceError: one does not fit; it says which, and what would.
        """
        _checked("arena", parse_size, self.arena)
        _checked("memory_pool", parse_size, self.memory_pool, PAGE)
        _checked("vram", parse_size, self.vram or 1)
        _checked("blocks", _whole, self.blocks)
        _checked("block_pool", _whole, self.block_pool, PAGE // BLOCK)
        _checked("gpu_deadline", parse_duration, self.gpu_deadline)
        for name, speed in _checked("link_speeds", dict, self.link_speeds).items():
            _checked(f"link_speeds[{name!r}]", _whole, speed, 1)
        for tenant, quotas in _checked("tenants", dict, self.tenants).items():
            for kind, quota in _checked(f"tenants[{tenant!r}]", dict, quotas).items():
                if kind not in QUOTAS:
                    raise ResourceError(
                        f"tenant {tenant!r} has a quota of {kind!r}; there are: {', '.join(QUOTAS)}",
                        resource="fabric",
                    )
                _checked(f"tenants[{tenant!r}][{kind!r}]", parse_size, quota)


#: What single tenants may have quotas of.
QUOTAS = ("arena", "blocks", "vram")
#: Bytes of the units that memory is leased in, and of a block.
PAGE, BLOCK = 4096, 512


def _checked(name: str, parse: Callable[[Any], Any], value: Any, least: int = 0) -> Any:
    try:
        parsed = parse(value)
        if isinstance(parsed, int) and parsed < least:
            raise ValueError(f"at least {least} is needed")
    except (TypeError, ValueError) as error:
        raise ResourceError(f"option {name}={value!r}: {error}", resource="fabric") from None
    return parsed


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number is needed")
    return value


#: Where a fabric comes from that is given by a word; imported when it is asked for, as it lies above this.
OPENERS = {"mock": "guesthouse.testing.fabric:current_mock"}


def open_fabric(
    option: Fabric | FabricOptions | Mapping[str, Any] | str | os.PathLike[str] | None = None,
) -> Fabric:
    """Return what the host's option ``fabric`` asks for.

    Args:
        option: a fabric, options, a mapping of options, or a directory to keep blocks and journals in;
            ``"mock"`` for the thread's mock; nothing at all keeps everything in memory.

    Raises:
        ResourceError: an option is unknown, or a file cannot be used.
    """
    if isinstance(option, Fabric):
        return option
    if isinstance(option, str) and option in OPENERS:
        module, _, function = OPENERS[option].partition(":")
        opener: Callable[[], Fabric] = getattr(importlib.import_module(module), function)
        return opener()
    if isinstance(option, str) and "://" in option:
        raise ResourceError(
            f"no backend for a fabric at {option!r}; there are: a directory, or 'mock'", resource="fabric"
        )
    if isinstance(option, str | os.PathLike):
        option = {"directory": option}
    if isinstance(option, Mapping):
        known = {own.name for own in fields(FabricOptions)}
        if unknown := option.keys() - known:
            raise ResourceError(
                f"unknown option {min(unknown)!r}; there are: {', '.join(sorted(known))}", resource="fabric"
            )
        option = FabricOptions(**option)
    if not isinstance(option, FabricOptions | None):
        raise ResourceError(
            f"a directory, a mapping of options, 'mock' or a Fabric is needed, not {option!r}",
            resource="fabric",
        )
    return Fabric(option)


class Fabric:
    """The resources behind the fabric interface.

    Attributes:
        tasklet: ``(exit_code, output)`` of every tasklet instead of running it; only mocks set it.

    Args:
        options: sizes and places.
        clock: the lease clock; the real one if ``None``.
        network: what `net_hello` tells.

    Raises:
        ResourceError: a file cannot be used or is damaged.
    """

    def __init__(
        self,
        options: FabricOptions | None = None,
        *,
        clock: LeaseClock | None = None,
        network: Network | None = None,
    ) -> None:
        self.options = options = options or FabricOptions()
        if (
            options.gpu != "auto"
        ):  # what was asked for by name has to be there; it is looked for later otherwise
            probe.devices(options.gpu)
        self.tasklet: tuple[int, bytes] | None = None
        self.clock = clock or LeaseClock()
        self.network = network or Network(
            pinned=options.interfaces, hidden=options.hidden_interfaces, speeds=options.link_speeds
        )
        journal = pool = None
        if options.directory is not None:
            folder = Path(options.directory)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ResourceError(
                    f"cannot use the directory {folder}: {error}", resource="fabric"
                ) from error
            # An operating-system crash forgets memory and its leases alike, so these need no flush.
            journal, pool = Journal(folder / "memory.leases", durable=False), folder / "blocks"
        self.memory = Memory(
            self.clock, arena=parse_size(options.arena), pool=parse_size(options.memory_pool), journal=journal
        )
        self.blocks = Blocks(
            self.clock,
            options.block_device or pool,
            blocks=options.blocks,
            pool=options.block_pool,
            direct=options.direct,
            sync=options.sync,
        )
        self._set_quotas(self.memory.leases, "arena")
        self._set_quotas(self.blocks.leases, "blocks")
        self._gpu: Gpu | None = None
        self._gpu_lock = threading.Lock()
        self._reaper = Reaper([self.memory.leases, self.blocks.leases])

    @property
    def gpu(self) -> Gpu | None:
        """GPU leases; made at the first use, since asking a driver takes time. ``None`` without a backend.

        Raises:
            ResourceError: the backend that was asked for does not work here.
        """
        with self._gpu_lock:
            if self._gpu is None:
                options = self.options
                devices = probe.devices(
                    options.gpu, None if options.vram is None else parse_size(options.vram)
                )
                if not devices:
                    return None
                deadline = parse_duration(options.gpu_deadline)
                self._gpu = Gpu(self.clock, devices, deadline=deadline, journal=self._gpu_journal)
                for engine in self._gpu.engines:
                    self._reaper.watch(engine)
                    self._set_quotas(engine, "vram")
            return self._gpu

    def _gpu_journal(self, number: int) -> Journal | None:
        if self.options.directory is None:
            return None
        return Journal(Path(self.options.directory) / f"gpu-{number}.leases", durable=False)

    def _set_quotas(self, engine: LeaseEngine, kind: str) -> None:
        """Give single tenants their own quota."""
        for tenant, quotas in self.options.tenants.items():
            if kind in quotas:
                engine.set_quota(tenant, parse_size(quotas[kind]))

    def greet(self, resource: str) -> None:
        """A guest says hello to `fbmu`, `fbbu` or `net`; raising a `LeaseError` turns it away."""

    def open_window(self, tenant: str) -> Window:
        """A new private memory window."""
        return Window(self.memory.window_size(tenant))

    def status(self) -> dict[str, Any]:
        """What serves the fabric here, for people."""
        return {
            "memory leases": len(self.memory.leases),
            "block leases": len(self.blocks.leases),
            "gpu": [asdict(device) for device in (self.gpu.devices if self.gpu else ())],
            "network": [link._asdict() for link in self.network.links()],
        }

    def close(self) -> None:
        """Flush and close everything; block leases go on with the next start."""
        self._reaper.close()
        if self._gpu is not None:
            self._gpu.close()
        self.memory.close()
        self.blocks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
