"""The cell manifest, ``pulp.cell.toml`` (spec/pulp.md 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guesthouse.interfaces.pulp.disk import DEFAULT_BYTES, DEFAULT_FILES
from guesthouse.interfaces.pulp.manifest import tables
from guesthouse.interfaces.pulp.manifest.tables import Kind
from guesthouse.interfaces.pulp.restarts import RESTART_POLICIES

PAGE = 65_536
DEFAULT_MEMORY_PAGES = 4096
DEFAULT_CALL_TIMEOUT_MS = 30_000

_KEYS = {
    "schema_version": Kind.INTEGER,
    "name": Kind.STRING,
    "version": Kind.STRING,
    "wasm": Kind.STRING,
    "provides": Kind.STRINGS,
    "consumes": Kind.STRINGS,
    "depends_on": Kind.STRINGS,
    "shared_memory_groups": Kind.STRINGS,
    "capabilities": Kind.STRINGS,
    "dedicated_thread": Kind.BOOLEAN,
    "snapshotable": Kind.BOOLEAN,
    "restart": Kind.STRING,
    "federated_callers": Kind.STRINGS,
    "federated_consumes": Kind.STRINGS,
    "migratable": Kind.BOOLEAN,
    "config": Kind.TABLE,
    "wasm_sha256": Kind.STRING,
    "max_memory_pages": Kind.INTEGER,
    "call_timeout_ms": Kind.INTEGER,
    "host_consumes": Kind.STRINGS,
    "instances": Kind.INTEGER,
    "capability_providers": Kind.TABLE,
    "max_disk_bytes": Kind.INTEGER,
    "max_disk_files": Kind.INTEGER,
}


@dataclass(frozen=True, slots=True)
class CellManifest:
    """One cell as its author describes it.

    Attributes:
        path: the manifest file; relative paths in it start at its directory.
        name, version: as declared, trimmed.
        wasm: the module file.
        provides, consumes, depends_on, host_consumes: names of providers and cells.
        capabilities: what the cell asks for, lower-case.
        restart: ``never``, ``on_crash`` or ``always``.
        config: handed to ``pulp_init``.
        wasm_sha256: digest of the module in hex, or blank.
        max_memory_pages: limit of linear memory in 64 KiB pages.
        call_timeout_ms: budget of one entry into the guest, milliseconds.
        instances: how many stateless copies serve requests; 1 is Pulp's own rule. An addition of this
            host (issue: one cell = one thread of execution).
        capability_providers: which provider serves a capability that several offer (spec 5.9).
        max_disk_bytes, max_disk_files: what its files and database may take together. An addition of
            this host.
    """

    path: Path
    name: str
    version: str
    wasm: Path
    provides: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    host_consumes: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    restart: str = "on_crash"
    config: Mapping[str, Any] = field(default_factory=dict)
    wasm_sha256: str = ""
    max_memory_pages: int = DEFAULT_MEMORY_PAGES
    call_timeout_ms: int = DEFAULT_CALL_TIMEOUT_MS
    instances: int = 1
    capability_providers: Mapping[str, str] = field(default_factory=dict)
    max_disk_bytes: int = DEFAULT_BYTES
    max_disk_files: int = DEFAULT_FILES
    schema_version: int = 1

    @property
    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return self.max_memory_pages * PAGE

    @classmethod
    def load(cls, path: str | Path) -> CellManifest:
        """Read, parse and validate a cell manifest.

        Raises:
            ManifestError: with the file, the key and what would mend it.
        """
        path = Path(path)
        return cls.from_table(tables.read(path), path)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], path: Path) -> CellManifest:
        """Validate a parsed manifest; ``path`` gives the directory of relative paths.

        Raises:
            ManifestError: with the file, the key and what would mend it.
        """
        tables.check(table, _KEYS, path)
        return cls(
            path=path,
            schema_version=tables.schema_version(table, path),
            name=tables.required(table, "name", path),
            version=tables.required(table, "version", path),
            wasm=path.parent / (table.get("wasm", "").strip() or "cell.wasm"),
            provides=tables.names(table, "provides"),
            consumes=tables.names(table, "consumes"),
            depends_on=tables.names(table, "depends_on"),
            host_consumes=_host_consumes(table, path),
            capabilities=tables.names(table, "capabilities", lower=True),
            restart=_restart(table, path),
            config=table.get("config", {}),
            wasm_sha256=tables.digest(table.get("wasm_sha256", ""), path, "wasm_sha256"),
            max_memory_pages=_positive(table, "max_memory_pages", DEFAULT_MEMORY_PAGES, path, most=65_536),
            call_timeout_ms=_positive(table, "call_timeout_ms", DEFAULT_CALL_TIMEOUT_MS, path),
            instances=_positive(table, "instances", 1, path, most=1024),
            capability_providers=_providers(table, path),
            max_disk_bytes=_positive(table, "max_disk_bytes", DEFAULT_BYTES, path, most=1 << 62),
            max_disk_files=_positive(table, "max_disk_files", DEFAULT_FILES, path),
        )


def _restart(table: Mapping[str, Any], path: Path) -> str:
    policy: str = table.get("restart", "").strip() or "on_crash"
    if policy not in RESTART_POLICIES:
        tables.invalid(f"restart {policy!r} must be one of {', '.join(RESTART_POLICIES)}", path, "restart")
    return policy


def _positive(
    table: Mapping[str, Any], key: str, default: int, path: Path, *, most: int = (1 << 32) - 1
) -> int:
    value: int = table.get(key, default) or default
    if not 0 < value <= most:
        tables.invalid(f"{key} {value} must be between 1 and {most}", path, key)
    return value


def _host_consumes(table: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Check the exact names of cross-application providers: nothing is trimmed or dropped here."""
    given: list[str] = table.get("host_consumes", [])
    for index, name in enumerate(given):
        if not name:
            tables.invalid(f"host_consumes[{index}] is blank; remove it", path, "host_consumes")
        if any(letter.isspace() for letter in name):
            tables.invalid(f"host_consumes {name!r} contains whitespace", path, "host_consumes")
        if name in given[:index]:
            tables.invalid(f"host_consumes {name!r} is a duplicate; remove one", path, "host_consumes")
    return tuple(given)


def _providers(table: Mapping[str, Any], path: Path) -> dict[str, str]:
    pins = table.get("capability_providers", {})
    for capability, provider in pins.items():
        if not isinstance(provider, str) or not provider.strip():
            tables.invalid(
                "a provider pin is the nonempty name of one provider",
                path,
                f"capability_providers.{capability}",
            )
    trimmed = {capability.strip().lower(): provider.strip() for capability, provider in pins.items()}
    if len(trimmed) != len(pins):
        tables.invalid("a capability is pinned more than once; keep one pin", path, "capability_providers")
    return trimmed
