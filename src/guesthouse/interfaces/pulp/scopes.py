"""Who a cell is among the applications of a host (spec/pulp.md 5.8).

A cell of a plain set of manifests goes by its bare name.  A cell of an application has a scope: the same
cell may run in several applications, and in several instances of one, and nothing that capabilities keep
for it may be mixed up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

LEGACY = "legacy"
DEFAULT = "default"
_PREFIX = "pulp-scope/v1/"


def joined(*parts: str) -> str:
    """Join parts so that no two lists of parts give the same text: ``len:value`` with ``|`` between."""
    return "|".join(f"{len(part.encode())}:{part}" for part in parts)


@dataclass(frozen=True, slots=True)
class Scope:
    """The four names that make a cell unique in a host.

    Attributes:
        application, application_instance: whose cell it is.
        cell, cell_instance: which one of it.

    Raises:
        ValueError: a part is blank or holds a NUL.
    """

    application: str
    application_instance: str
    cell: str
    cell_instance: str

    def __post_init__(self) -> None:
        for part in self.parts:
            if not part.strip() or "\0" in part:
                raise ValueError(f"{part!r} cannot be part of a scope: it is blank or holds a NUL")

    @classmethod
    def legacy(cls, cell: str) -> Self:
        """Return the scope of a cell that belongs to no application."""
        return cls(LEGACY, DEFAULT, cell, DEFAULT)

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Application, its instance, cell, its instance."""
        return self.application, self.application_instance, self.cell, self.cell_instance

    @property
    def is_legacy(self) -> bool:
        """Whether the cell belongs to no application."""
        return self == Scope.legacy(self.cell)

    @property
    def routing_id(self) -> str:
        """The id by which capabilities key what they keep; the bare name for a legacy cell."""
        return self.cell if self.is_legacy else _PREFIX + joined(*self.parts)

    def storage(self, namespace: str = "") -> Path:
        """Return the directory of the cell's files, relative to the storage root.

        Args:
            namespace: the ``storage_namespace`` of a host manifest; blank outside of one.

        Raises:
            ValueError: a part cannot name a directory.
        """
        for part in (*self.parts, namespace):
            if "/" in part or part in (".", ".."):
                raise ValueError(f"{part!r} cannot name a directory")
        own = Path(
            "apps", self.application, self.application_instance, "cells", self.cell, self.cell_instance
        )
        return Path(namespace, self.application_instance, own) if namespace else own


@dataclass(frozen=True, slots=True)
class ResourceKey:
    """Something that a capability keeps for a cell.

    Attributes:
        scope: whose it is.
        type, id: what it is.
    """

    scope: Scope
    type: str
    id: str

    def __str__(self) -> str:
        return _PREFIX + joined(*self.scope.parts, self.type, self.id)
