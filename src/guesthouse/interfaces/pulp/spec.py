"""What a cell is loaded from: a manifest, a module file, bytes, or these fields spelt out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias, Union

from guesthouse.interfaces.pulp.disk import Quota
from guesthouse.interfaces.pulp.manifest.cell import (
    DEFAULT_CALL_TIMEOUT_MS,
    DEFAULT_MEMORY_PAGES,
    PAGE,
    CellManifest,
)
from guesthouse.interfaces.pulp.manifest.placements import Placement
from guesthouse.interfaces.pulp.scopes import DEFAULT, Scope

SpecLike: TypeAlias = Union["CellSpec", CellManifest, str, "PathLike[str]", bytes]


@dataclass(frozen=True, slots=True)
class CellSpec:
    """A cell to load.

    Attributes:
        name: the cell's name, as siblings call it.
        wasm: the module: a file or its bytes.
        capabilities: declared capabilities.
        config: handed to `Cell.init` when it is called without one.
        depends_on, consumes, provides: for the permission of sibling calls.
        restart: what becomes of a crashed cell: ``never``, ``on_crash`` or ``always``.
        memory: limit of linear memory in bytes.
        timeout: budget of one entry into the guest, in seconds.
        cell_id: routing id; the name by default (spec/pulp.md 5.8).
        instances: stateless copies that serve requests.
        storage: directory of its files below the storage root, where it is not the name (spec 5.8).
        scope: which application it belongs to.
        wasm_sha256: digest that the module must have whenever it is read; blank for any.
        noted_sha256: digest that its manifest names outside of an application, where Pulp does not compare
            it; another one is told, not refused (spec/pulp.md 4.1).
        providers: whose capability it wants, where several offer one name (spec 5.9).
        disk: what it may keep on disk.
    """

    name: str
    wasm: Path | bytes
    capabilities: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    host_consumes: tuple[str, ...] = ()
    restart: str = "on_crash"
    memory: int = DEFAULT_MEMORY_PAGES * PAGE
    timeout: float = DEFAULT_CALL_TIMEOUT_MS / 1000
    cell_id: str = ""
    instances: int = 1
    storage: Path | None = None
    scope: Scope | None = None
    wasm_sha256: str = ""
    noted_sha256: str = ""
    providers: Mapping[str, str] = field(default_factory=dict)
    disk: Quota = field(default_factory=Quota)

    @property
    def cell(self) -> str:
        """The cell's name in its manifest; `name` is the address of one placement of it."""
        return self.scope.cell if self.scope else self.name

    @property
    def label(self) -> str:
        """What logs and errors call the cell: its name, with its application where a host has several."""
        scope = self.scope
        if scope is None or scope.application_instance == DEFAULT:
            return self.name
        return f"{scope.application}/{scope.application_instance}/{self.name}"

    @property
    def id(self) -> str:
        """The routing id: capabilities key their state per cell by it."""
        return self.cell_id or self.name

    def read(self) -> bytes:
        """Return the module's bytes; raises ``OSError``."""
        return self.wasm if isinstance(self.wasm, bytes) else self.wasm.read_bytes()

    @classmethod
    def of(cls, given: SpecLike) -> CellSpec:
        """Make a spec of whatever was given.

        Args:
            given: a spec, a manifest, the path of a ``.toml`` manifest, the path of a module (the cell
                is named after the file), or a module's bytes (the cell is named ``cell``).

        Raises:
            ManifestError: the manifest is malformed.
        """
        if isinstance(given, CellSpec):
            return given
        if isinstance(given, CellManifest):
            return cls._of_manifest(given)
        if isinstance(given, bytes):
            return cls("cell", given)
        path = Path(fspath(given))
        if path.suffix == ".toml":
            return cls._of_manifest(CellManifest.load(path))
        return cls(path.stem, path)

    @classmethod
    def _of_manifest(cls, manifest: CellManifest) -> CellSpec:
        return cls(
            name=manifest.name,
            wasm=manifest.wasm,
            capabilities=manifest.capabilities,
            config=manifest.config,
            depends_on=manifest.depends_on,
            consumes=manifest.consumes,
            provides=manifest.provides,
            host_consumes=manifest.host_consumes,
            restart=manifest.restart,
            memory=manifest.memory_bytes,
            timeout=manifest.call_timeout_ms / 1000,
            instances=manifest.instances,
            providers=manifest.capability_providers,
            disk=Quota(manifest.max_disk_bytes, manifest.max_disk_files),
            noted_sha256=manifest.wasm_sha256,
        )

    @classmethod
    def placed(
        cls, placement: Placement, application: str, instance: str = DEFAULT, namespace: str = ""
    ) -> CellSpec:
        """Make the spec of one placement in an application.

        Args:
            placement: the cell, its instance and its configuration.
            application: the application: its id in a host, its name otherwise.
            instance: the application's instance.
            namespace: storage namespace of the application in a host.
        """
        manifest = placement.manifest
        scope = Scope(application, instance, manifest.name, placement.instance)
        return replace(
            cls._of_manifest(manifest),
            name=placement.address,
            config=placement.config,
            cell_id=scope.routing_id,
            storage=scope.storage(namespace),
            scope=scope,
            wasm_sha256=manifest.wasm_sha256,
            noted_sha256="",
        )
