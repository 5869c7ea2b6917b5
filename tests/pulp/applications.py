"""Writes application and host manifests for tests."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

SCRIPT = "return 42 -- the orchestrator's script\n"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Folder:
    """A folder with cells, built as needed, and the manifests over them."""

    def __init__(self, path: Path, build) -> None:
        self.path, self._build = path, build
        path.mkdir(parents=True, exist_ok=True)
        (path / "main.lua").write_text(SCRIPT)

    def cell(self, name: str, guest: str = "kit.c", extra: str = "") -> str:
        """Write a cell and return the name of its manifest."""
        shutil.copy(self._build(guest), self.path / f"{name}.wasm")
        file = f"{name}.cell.toml"
        (self.path / file).write_text(f'name = "{name}"\nversion = "1"\nwasm = "{name}.wasm"\n{extra}')
        return file

    def wasm_digest(self, name: str) -> str:
        return digest((self.path / f"{name}.wasm").read_bytes())

    def app(
        self,
        *cells: str,
        name: str = "demo",
        orchestrator: str | None = None,
        sha256: str | None = None,
        head: str = "",
        tail: str = "",
    ) -> Path:
        """Write an application manifest over cells of this folder."""
        listed = ", ".join(f'"{cell}"' for cell in cells)
        path = self.path / "pulp.app.toml"
        path.write_text(
            f'name = "{name}"\nversion = "1"\ncells = [{listed}]\n{head}\n'
            f'[orchestrator]\nmanifest = "{orchestrator or cells[0]}"\nscript = "main.lua"\n'
            f'sha256 = "{sha256 or digest(SCRIPT.encode())}"\n{tail}'
        )
        return path
