"""``tool.acquire`` and ``toolchain.install``: programs of the host that cells build on (spec/pulp.md 3.11).

Finding a program is harmless; installing one runs or unpacks what somebody else wrote.  So installers run
only where the operator lists the exact command in ``TOOL_ACQUIRE_INSTALLERS`` (one per line), and toolchains
come only from the archives of ``TOOLCHAIN_ARCHIVES``: lines of ``name url sha256``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp.extension import Environment, Extension, aside, reply
from guesthouse.interfaces.pulp.extensions.launching import GRACE, end, ended, start
from guesthouse.interfaces.pulp.structs import Message, go
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall

INSTALLERS = "TOOL_ACQUIRE_INSTALLERS"
ARCHIVES = "TOOLCHAIN_ARCHIVES"
INSTALL_TIMEOUT = 600.0
#: Bytes that an archive may have, packed and unpacked.
LARGEST_ARCHIVE, LARGEST_TREE = 1 << 30, 4 << 30
#: What is shown of an installer's output.
TAIL = 500


@dataclass(slots=True)
class AcquireRequest(Message):
    """The request of ``tool_acquire``; ``source`` is ``installed``, ``official`` or ``manual``."""

    name: str = go("str")
    source: str = go("str")
    install_cmd: str = go("str")
    path: str = go("str")
    expect_path: str = go("str")


@dataclass(slots=True)
class Acquired(Message):
    """The reply: ``status`` is resolved, installed, notfound, unsupported or failed."""

    ok: bool = go("bool")
    status: str = go("str")
    path: str = go("str")
    message: str = go("str")


@dataclass(slots=True)
class ToolchainRequest(Message):
    """The request of both toolchain functions."""

    lang: str = go("str")


@dataclass(slots=True)
class Installed(Message):
    """The reply of ``toolchain_install``: ``status`` is present, unsupported or failed."""

    ok: bool = go("bool")
    status: str = go("str")
    message: str = go("str")


@dataclass(slots=True)
class ToolchainStatus(Message):
    """The reply of ``toolchain_status``."""

    present: bool = go("bool")
    path: str = go("str")


class ToolAcquire(Extension):
    """Finds programs, and runs installers that the operator listed."""

    name = "tool.acquire"
    summary = "Find a program of the host, or install it as the operator allows."

    def __init__(self) -> None:
        self._installers: frozenset[str] = frozenset()

    def setup(self, environment: Environment) -> None:
        """Read the list of installers."""
        lines = environment.settings.get(INSTALLERS, "").splitlines()
        self._installers = frozenset(line.strip() for line in lines if line.strip())

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the one import."""
        return (self.row("tool_acquire", "iiii", self.acquire, "Resolve a program to its path."),)

    def acquire(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {name, source, …} with {ok, status, path, message}; failures are in the reply."""
        data = call.instance.read(pointer, length) if length else b"\x80"
        wanted = AcquireRequest.decode(data)
        left = call.remaining()
        answer = aside(call, INSTALL_TIMEOUT + 2 * GRACE, lambda: self._resolve(wanted, left))
        return reply(call, answer, pointer_out, length_out)

    def _resolve(self, wanted: AcquireRequest, left: float | None) -> Acquired:
        if not wanted.name and not wanted.path:
            return Acquired(False, "failed", "", "name or path is needed")
        match wanted.source:
            case "installed" | "":
                found = located(wanted)
                status = "resolved" if found else "notfound"
                return Acquired(bool(found), status, found, "" if found else f"{wanted.name} is not on PATH")
            case "manual":
                path = Path(wanted.path).expanduser().absolute()
                there = bool(wanted.path) and path.is_file()
                return Acquired(there, "resolved" if there else "notfound", str(path) if there else "", "")
            case "official":
                return self._install(wanted, left)
            case other:
                return Acquired(False, "unsupported", "", f"there is no source {other!r}")

    def _install(self, wanted: AcquireRequest, left: float | None) -> Acquired:
        if found := located(wanted):
            return Acquired(True, "resolved", found, "was installed before")
        if wanted.install_cmd.strip() not in self._installers:
            return Acquired(False, "failed", "", f"the installer is not listed in {INSTALLERS}")
        log.info("running an installer", name=wanted.name, command=wanted.install_cmd)
        with tempfile.TemporaryFile() as output:
            process = start(
                ["/bin/sh", "-c", wanted.install_cmd.strip()], None, {},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            on_time = ended(process, INSTALL_TIMEOUT if left is None else min(INSTALL_TIMEOUT, left))
            end(process)
            code = process.wait()
            output.seek(0)
            text = output.read()[-TAIL:].decode("utf-8", "replace").strip()
        if code or not on_time:
            return Acquired(False, "failed", "", f"the installer ended with {code}: {text}")
        found = located(wanted)
        return Acquired(bool(found), "installed" if found else "notfound", found, text)


def located(wanted: AcquireRequest) -> str:
    """Return where a program is, on PATH or where it is expected; blank when it is nowhere."""
    found = shutil.which(wanted.name) if wanted.name else None
    if found:
        return str(Path(found).absolute())
    path = Path(wanted.expect_path).expanduser()
    return str(path.absolute()) if wanted.expect_path and path.is_file() else ""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a toolchain comes from."""

    url: str
    sha256: str


class Toolchain(Extension):
    """Unpacks toolchains below the storage root."""

    name = "toolchain.install"
    summary = "Install a toolchain that the operator pinned."

    def __init__(self) -> None:
        self._archives: Mapping[str, Archive] = {}
        self._root = Path("data/runtime")

    def setup(self, environment: Environment) -> None:
        """Read the list of archives."""
        lines = (line.split() for line in environment.settings.get(ARCHIVES, "").splitlines())
        self._archives = {line[0]: Archive(line[1], line[2].lower()) for line in lines if len(line) == 3}
        self._root = environment.storage_root.absolute() / "runtime"

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the two imports."""
        return (
            self.row("toolchain_install", "iiii", self.install, "Install a toolchain by name."),
            self.row("toolchain_status", "iiii", self.status, "Say whether a toolchain is installed."),
        )

    def _wanted(self, call: CellCall, pointer: int, length: int) -> str:
        return ToolchainRequest.decode(call.instance.read(pointer, length) if length else b"\x80").lang

    def status(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {lang} with {present, path}."""
        lang = self._wanted(call, pointer, length)
        path = self._root / lang
        present = lang in self._archives and path.is_dir()
        return reply(call, ToolchainStatus(present, str(path) if present else ""), pointer_out, length_out)

    def install(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {lang} with {ok, status, message}; failures are in the reply."""
        lang = self._wanted(call, pointer, length)
        archive = self._archives.get(lang)
        if archive is None:
            answer = Installed(False, "unsupported", f"{lang!r} is not listed in {ARCHIVES}")
        else:
            left = call.remaining()
            answer = aside(call, INSTALL_TIMEOUT, lambda: self._unpacked(lang, archive, left))
        return reply(call, answer, pointer_out, length_out)

    def _unpacked(self, lang: str, archive: Archive, left: float | None) -> Installed:
        target = self._root / lang
        if target.is_dir():
            return Installed(True, "present", str(target))
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=self._root) as workshop:
                packed = Path(workshop) / archive.url.rpartition("/")[2]
                download(archive, packed, left)
                tree = Path(workshop) / "tree"
                unpack(packed, tree)
                inner = list(tree.iterdir())
                single = inner[0] if len(inner) == 1 and inner[0].is_dir() else tree
                single.rename(target)
        except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
            return Installed(False, "failed", str(error))
        return Installed(True, "present", str(target))


def download(archive: Archive, target: Path, left: float | None) -> None:
    """Fetch an archive and compare its digest.

    Raises:
        ValueError: it is too large, or another file than the pinned one.
        OSError: it cannot be fetched or stored.
    """
    import httpx

    digest, size = hashlib.sha256(), 0
    try:
        with (
            httpx.Client(timeout=INSTALL_TIMEOUT if left is None else left, follow_redirects=True) as client,
            client.stream("GET", archive.url) as answer,
            target.open("wb") as file,
        ):
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                size += len(piece)
                if size > LARGEST_ARCHIVE:
                    raise ValueError(f"{archive.url} has more than {LARGEST_ARCHIVE} bytes")
                digest.update(piece)
                file.write(piece)
    except httpx.HTTPError as error:
        raise OSError(f"{archive.url}: {error}") from error
    if digest.hexdigest() != archive.sha256:
        raise ValueError(f"{archive.url} is not the pinned file: its SHA-256 is {digest.hexdigest()}")


def unpack(packed: Path, target: Path) -> None:
    """Unpack a zip or tar archive; nothing in it can lie outside of the target.

    Raises:
        ValueError: it would become too large.
        tarfile.TarError, zipfile.BadZipFile: it is damaged, or something in it would lie outside.
    """
    target.mkdir()
    if zipfile.is_zipfile(packed):
        with zipfile.ZipFile(packed) as bundle:
            if sum(entry.file_size for entry in bundle.infolist()) > LARGEST_TREE:
                raise ValueError(f"{packed.name} unpacks to more than {LARGEST_TREE} bytes")
            bundle.extractall(target)  # noqa: S202 - drops drive letters, leading slashes and `..`
            for entry in bundle.infolist():
                mode = entry.external_attr >> 16 & 0o777
                if mode and not entry.is_dir():
                    (target / entry.filename).chmod(mode | 0o600)
        return
    with tarfile.open(packed) as bundle:
        if sum(entry.size for entry in bundle) > LARGEST_TREE:
            raise ValueError(f"{packed.name} unpacks to more than {LARGEST_TREE} bytes")
        bundle.extractall(target, filter="data")
