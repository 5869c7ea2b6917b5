"""Real servers for capabilities that are made of one: found on this machine, or started for the tests alone."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCKER_SOCKET = Path("/var/run/docker.sock")
#: Who runs the database where the tests run as root, which it refuses to be.
NOBODY = ("postgres", "nobody")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(str(path))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _running(command: list[str], folder: Path, door: Path, **options: object) -> Iterator[None]:
    """Run a server until left; skips the tests where it does not come up."""
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, **options)  # type: ignore[call-overload]
    try:
        until = time.monotonic() + 30
        while not _listens(door):
            if process.poll() is not None or time.monotonic() > until:
                pytest.skip(f"{command[0]} does not run here: {log.read_text().strip()[-300:]}")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # a database that is only asked would wait for its clients
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()


@contextlib.contextmanager
def docker_host() -> Iterator[str]:
    """Yield the address of a Docker daemon: ``DOCKER_HOST``, the usual one, or one started for the tests."""
    pytest.importorskip("docker")
    if os.environ.get("DOCKER_HOST"):
        yield os.environ["DOCKER_HOST"]
    elif DOCKER_SOCKET.is_socket() and _listens(DOCKER_SOCKET):
        yield f"unix://{DOCKER_SOCKET}"
    elif shutil.which("dockerd") is None or os.getuid():
        pytest.skip("no Docker daemon on this machine, and none can be started: that takes dockerd and root")
    else:
        with tempfile.TemporaryDirectory(prefix="gh-docker-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            door = folder / "docker.sock"
            # Nothing outside of the folder is touched: no bridge, no rules, no storage driver that mounts.
            command = ["dockerd", "--host", f"unix://{door}", "--data-root", f"{folder}/data",
                       "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid",
                       "--iptables=false", "--bridge=none", "--storage-driver=vfs"]  # fmt: skip
            with _running(command, folder, door):
                yield f"unix://{door}"


def _postgres() -> Path | None:
    """Return the directory of the server's programs: the one on the path, or the newest that is installed."""
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    return installed[-1].parent if installed else None


@contextlib.contextmanager
def postgres_url() -> Iterator[str]:
    """Yield the URL of a Postgres server that is started for the tests: the machine's, or PyPI's."""
    programs = _postgres()
    # Not below the tests' own folder: as root the server runs as somebody else, who may not look in there.
    with tempfile.TemporaryDirectory(prefix="gh-postgres-", ignore_cleanup_errors=True) as name:
        if programs is None:
            pgserver = pytest.importorskip("pgserver", reason="no Postgres server on this machine")
            server = pgserver.get_server(name)
            try:
                yield server.get_uri()
            finally:
                server.cleanup()
            return
        folder = Path(name)
        options: dict[str, object] = {}
        if os.getuid() == 0:
            owner = _somebody()
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            options = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        subprocess.run(
            [programs / "initdb", "--auth=trust", "--username=cells", "--encoding=UTF8", "--no-sync", "data"],
            cwd=folder, check=True, capture_output=True, **options,  # type: ignore[call-overload]
        )  # fmt: skip
        # A socket in the folder and no address at all: nobody else can reach it.
        command = [str(programs / "postgres"), "-D", "data", "-k", name, "-h", "", "-F"]
        with _running(command, folder, folder / ".s.PGSQL.5432", **options):
            yield f"postgresql://cells@/postgres?host={name}"


def _somebody() -> pwd.struct_passwd:
    for user in NOBODY:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(user)
    pytest.skip("the tests run as root, and there is nobody else to run Postgres")
