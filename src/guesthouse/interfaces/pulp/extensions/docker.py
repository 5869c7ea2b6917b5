"""``spawn.docker``: containers of a Docker or Podman daemon (spec/pulp.md 3.10).

Each cell sees and touches the containers it made: their names begin with ``pulp-{cell}-``.
"""

# ruff: noqa: RUF009 - `go` declares a dataclass field, with a fresh default for every instance

from __future__ import annotations

import contextlib
import io
import posixpath
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import codec, memory
from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused, aside, reply, request, take
from guesthouse.interfaces.pulp.extensions import containers
from guesthouse.interfaces.pulp.extensions.containers import ContainerPolicy
from guesthouse.interfaces.pulp.extensions.tasks import setting
from guesthouse.interfaces.pulp.structs import Message, go

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall

UNREACHABLE = 10
BUILDING = 11
DEFAULT_TAIL = 200
DEFAULT_EVENTS = 100
#: Seconds that an event can be old when a cell asks for it.
OLDEST_EVENT = 300.0
#: Bytes of a file, a log or a command's output that a cell is handed.
LARGEST = 16 << 20
#: Seconds for one question to the daemon, and to stop a container.
TIMEOUT, STOP_TIMEOUT = 25, 10
#: Seconds that a cell waits for one function in all.
LONGEST = 120.0
#: The setting that says how many containers of one cell may be there, and its default.
MOST, DEFAULT_MOST = "DOCKER_MAX_PER_CELL", 32
#: Processes of a container whose creator does not say how many.
DEFAULT_PIDS = 4096


@dataclass(slots=True)
class Question(Message):
    """One request for all functions; each looks at the fields that it knows."""

    filter: dict[str, str] = go("map")
    name: str = go("str")
    id: str = go("str")
    cmd: list[str] = go("strings")
    tail: int = go("int64")
    path: str = go("str")
    data: bytes = go("bytes")
    container: str = go("str")
    since_nanos: int = go("int64")
    limit: int = go("int64")
    build_args: dict[str, str] = go("map")
    image_tag: str = go("str")
    build_dir: str = go("str")


@dataclass(slots=True)
class Creation(Message):
    """The request of ``docker_create``; sizes in bytes, rates in bytes per second."""

    image: str = go("str")
    name: str = go("str")
    environment: dict[str, str] = go("map")
    volumes: Any = go("any")
    ports: Any = go("any")
    network: str = go("str")
    ip: str = go("str")
    memory_limit: int = go("int64")
    cpu_limit: Any = go("any")
    disk_io_read_bps: int = go("int64")
    disk_io_write_bps: int = go("int64")
    disk_size_limit: int = go("int64")
    pids_limit: int = go("int64")
    memory_swap: int = go("int64")


class Docker(Extension):
    """Makes and serves containers."""

    name = "spawn.docker"
    summary = "Containers of a Docker daemon, each cell its own."

    def __init__(self) -> None:
        self._policy = ContainerPolicy({})
        self._settings: dict[str, str] = {}
        self._most = DEFAULT_MOST
        self._client: Any = None
        self._lock = threading.Lock()
        self._build: dict[str, Any] = {"building": False, "last_build_time": 0}

    def setup(self, environment: Environment) -> None:
        """Note the settings; the daemon is first spoken to when a cell needs it."""
        self._settings = dict(environment.settings)
        self._policy = ContainerPolicy(environment.settings)
        self._most = setting(environment.settings, MOST, DEFAULT_MOST)

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the fifteen imports."""
        answers: tuple[tuple[str, Callable[[CellCall, Question], Any], str], ...] = (
            ("docker_list", self._list, "List the cell's containers."),
            ("docker_get", self._get, "Return one container."),
            ("docker_exec", self._exec, "Run a command in a container."),
            ("docker_logs", self._logs, "Return the end of what a container printed."),
            ("docker_stats", self._stats, "Return what a container uses."),
            ("docker_stats_all", self._stats_all, "Return what all running containers use."),
            ("docker_files_read", self._read, "Return a file of a container, raw."),
            ("docker_events_poll", self._poll_events, "Return what happened to containers since a time."),
            (
                "docker_build_status",
                lambda _call, _question: dict(self._build),
                "Return how the build stands.",
            ),
        )
        silent: tuple[tuple[str, Callable[[CellCall, Question], None], str], ...] = (
            ("docker_destroy", self._destroy, "Stop and remove a container."),
            ("docker_restart", self._restart, "Restart a container."),
            ("docker_files_write", self._write, "Put a file into a container."),
            ("docker_files_delete", self._delete, "Delete a file in a container."),
            ("docker_build", self._start_build, "Build an image, in the background."),
        )
        return (
            self.row("docker_create", "iiii", self.create, "Make and start a container."),
            *(self.row(name, "iiii", self._answering(does), summary) for name, does, summary in answers),
            *(self.row(name, "ii", self._doing(does), summary) for name, does, summary in silent),
        )

    # -- asking the daemon

    def _daemon(self) -> Any:
        """Return the client.

        Raises:
            Refused: with 10, there is no daemon or no library.
        """
        try:
            import docker
        except ImportError:
            raise Refused(
                UNREACHABLE, "docker is not installed: pip install 'guesthouse[pulp-docker]'"
            ) from None
        with self._lock:
            if self._client is None:
                client = None
                self._knock()
                try:
                    client = docker.from_env(timeout=TIMEOUT, environment=self._settings)
                    client.ping()
                except Exception as error:  # noqa: BLE001 - whatever keeps us from the daemon
                    if client is not None:
                        client.close()
                    raise Refused(UNREACHABLE, str(error)) from None
                self._client = client
            return self._client

    def _knock(self) -> None:
        """Refuse with 10 at once where nobody listens; the library would leave its socket open."""
        host = self._settings.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        if host.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as door:
                try:
                    door.connect(host.removeprefix("unix://"))
                except OSError as error:
                    raise Refused(UNREACHABLE, f"{host}: {error}") from None

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """Do something at the daemon; its refusals become codes.

        Raises:
            Refused: 4 the daemon refused, 6 not found, 10 it is gone.
        """
        import docker.errors
        import requests

        try:
            return work()
        except docker.errors.NotFound as error:
            raise Refused(containers.NOT_FOUND, str(error.explanation)) from None
        except docker.errors.DockerException as error:
            raise Refused(memory.FAILED, str(error)) from None
        except requests.exceptions.RequestException as error:
            with self._lock:
                self._client = None
            raise Refused(UNREACHABLE, str(error)) from None

    def _asked(self, call: CellCall, work: Callable[[], Any]) -> Any:
        """Do something at the daemon beside the cell; raises as `_guarded`."""

        def ask() -> Any:
            self._daemon()
            return self._guarded(work)

        return aside(call, LONGEST, ask)

    def _container(self, call: CellCall, name: str) -> Any:
        """Return a container of the cell; others are as unknown as those that never were."""
        if not name:
            raise DecodeError("no container is named")
        cell = call.cell.id
        found = self._daemon().containers.get(name)
        if not self._policy.owns(cell, found.name, found.labels):
            raise Refused(containers.NOT_FOUND, f"{name} is not a container of {cell}")
        return found

    def _question(self, call: CellCall, pointer: int, length: int) -> Question:
        return Question.decode(take(call, pointer, length)) if length else Question()

    def _answering(self, does: Callable[[CellCall, Question], Any]) -> Callable[..., int]:
        def serve(call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
            question = self._question(call, pointer, length)
            answer = self._asked(call, lambda: does(call, question))
            data = answer if isinstance(answer, bytes) else codec.encode(answer) if answer else b""
            return reply(call, data, pointer_out, length_out)

        return serve

    def _doing(self, does: Callable[[CellCall, Question], None]) -> Callable[..., int]:
        def serve(call: CellCall, pointer: int, length: int) -> int:
            question = request(call, pointer, length, Question)
            self._asked(call, lambda: does(call, question))
            return memory.OK

        return serve

    # -- the functions

    def create(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Make and start a container; 4 refused by the daemon, 6 no such image, 11 a mount is not allowed."""
        wanted = request(call, pointer, length, Creation)
        if not wanted.image:
            raise DecodeError("image is needed")
        options = self._options(call.cell.id, wanted)
        made = aside(call, LONGEST, lambda: self._made(call.cell.id, wanted, options))
        return reply(call, codec.encode(made), pointer_out, length_out)

    def _made(self, cell: str, wanted: Creation, options: dict[str, Any]) -> dict[str, Any]:
        client = self._daemon()
        filters = {"label": f"{containers.LABEL}={cell}"}
        there = self._guarded(lambda: client.api.containers(all=True, quiet=True, filters=filters))
        if len(there) >= self._most:
            raise Refused(memory.FAILED, f"{self._most} containers of the cell are there; see {MOST}")
        made = self._guarded(lambda: client.containers.create(wanted.image, **options))
        try:
            self._guarded(lambda: self._begin(client, made, wanted))
        except Refused:
            self._guarded(lambda: made.remove(force=True))
            raise
        return containers.describe(made)

    def _options(self, cell: str, wanted: Creation) -> dict[str, Any]:
        options: dict[str, Any] = {
            "name": self._policy.name(cell, wanted.name),
            "environment": wanted.environment,
            "volumes": self._policy.volumes(wanted.volumes),
            "ports": containers.ports(wanted.ports),
            "labels": {containers.LABEL: cell},
            "detach": True,
            "init": True,
            "security_opt": ["no-new-privileges"],
            "pids_limit": DEFAULT_PIDS,
        }
        if wanted.network and not wanted.ip:
            options["network"] = wanted.network
        for key, name in (
            ("memory_limit", "mem_limit"), ("memory_swap", "memswap_limit"), ("pids_limit", "pids_limit"),
        ):  # fmt: skip
            if getattr(wanted, key) > 0:
                options[name] = getattr(wanted, key)
        if isinstance(wanted.cpu_limit, int | float) and wanted.cpu_limit > 0:
            options["nano_cpus"] = int(wanted.cpu_limit * 1e9)
        if wanted.disk_size_limit > 0:
            options["storage_opt"] = {"size": str(wanted.disk_size_limit)}
        for key in ("disk_io_read_bps", "disk_io_write_bps"):
            if getattr(wanted, key) > 0:
                options[key.replace("disk_io", "device")] = [
                    {"Path": "/dev/sda", "Rate": getattr(wanted, key)}
                ]
        return options

    @staticmethod
    def _begin(client: Any, made: Any, wanted: Creation) -> None:
        if wanted.ip:
            client.networks.get(wanted.network or "bridge").connect(made, ipv4_address=wanted.ip)
        made.start()
        made.reload()

    def _list(self, call: CellCall, question: Question) -> list[dict[str, Any]]:
        filters = dict(question.filter)
        found = self._daemon().containers.list(all=True, filters=filters or None)
        return [containers.describe(c) for c in found if self._policy.owns(call.cell.id, c.name, c.labels)]

    def _get(self, call: CellCall, question: Question) -> dict[str, Any]:
        return containers.describe(self._container(call, question.name or question.id))

    def _exec(self, call: CellCall, question: Question) -> dict[str, str]:
        if not question.cmd:
            raise DecodeError("cmd is empty")
        container = self._container(call, question.id)
        api = self._daemon().api
        begun = api.exec_create(container.id, question.cmd)
        # Not `stream=True`: what the library returns then cannot be closed.
        connection = api.exec_start(begun["Id"], socket=True)
        return {"output": collected(_spoken(connection)).decode("utf-8", "replace")}

    def _logs(self, call: CellCall, question: Question) -> dict[str, str]:
        tail = question.tail if question.tail > 0 else DEFAULT_TAIL
        pieces = self._container(call, question.id).logs(tail=tail, stream=True, follow=False)
        return {"logs": collected(pieces, end=True).decode("utf-8", "replace")}

    def _stats(self, call: CellCall, question: Question) -> dict[str, Any]:
        return containers.usage(self._container(call, question.id))

    def _stats_all(self, call: CellCall, _question: Question) -> list[dict[str, Any]]:
        running = self._daemon().containers.list()
        return [containers.usage(c) for c in running if self._policy.owns(call.cell.id, c.name, c.labels)]

    def _destroy(self, call: CellCall, question: Question) -> None:
        container = self._container(call, question.id)
        container.stop(timeout=STOP_TIMEOUT)
        container.remove(force=True)

    def _restart(self, call: CellCall, question: Question) -> None:
        self._container(call, question.id).restart(timeout=STOP_TIMEOUT)

    def _read(self, call: CellCall, question: Question) -> bytes:
        stream, _ = self._container(call, question.id).get_archive(question.path)
        archive = io.BytesIO()
        for piece in stream:
            if archive.tell() + len(piece) > LARGEST:
                raise Refused(memory.FAILED, f"{question.path} has more than {LARGEST} bytes")
            archive.write(piece)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            entry = tar.next()
            content = None if entry is None else tar.extractfile(entry)
            if content is None:
                raise Refused(memory.FAILED, f"{question.path} is no regular file")
            return content.read()

    def _write(self, call: CellCall, question: Question) -> None:
        directory, name = posixpath.split(question.path)
        if not name or not posixpath.isabs(directory):
            raise DecodeError(f"path {question.path!r} is not the absolute path of a file")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(question.data), int(time.time())
            tar.addfile(entry, io.BytesIO(question.data))
        if not self._container(call, question.id).put_archive(directory, archive.getvalue()):
            raise Refused(memory.FAILED, f"{question.path} was not written")

    def _delete(self, call: CellCall, question: Question) -> None:
        if not posixpath.isabs(question.path):
            raise DecodeError(f"path {question.path!r} is not absolute")
        container = self._container(call, question.container or question.id)
        code, output = container.exec_run(["rm", "-f", "--", question.path])
        if code:
            raise Refused(memory.FAILED, output.decode("utf-8", "replace"))

    # -- events and builds

    def _poll_events(self, call: CellCall, question: Question) -> list[dict[str, Any]]:
        """Ask the daemon for what it remembers; nothing is kept here, so nothing is lost here."""
        now = time.time_ns()
        oldest = max(question.since_nanos + 1, now - int(OLDEST_EVENT * 1e9))
        stream = self._daemon().events(
            since=_seconds(oldest), until=_seconds(now), decode=True, filters={"type": "container"}
        )
        limit = question.limit if question.limit > 0 else DEFAULT_EVENTS
        told = []
        for event in stream:
            actor = event.get("Actor") or {}
            attributes = actor.get("Attributes") or {}
            name = attributes.get("name", "")
            if self._policy.owns(call.cell.id, name, attributes):
                told.append(
                    {
                        "timestamp": event.get("timeNano", 0),
                        "container_id": actor.get("ID", ""),
                        "name": name,
                        "action": event.get("Action", ""),
                    }
                )
        return told[:limit]

    def _start_build(self, call: CellCall, question: Question) -> None:
        if not question.image_tag or not question.build_dir:
            raise DecodeError("image_tag and build_dir are needed")
        directory = self._policy.volumes([f"{question.build_dir}:/build:ro"])[0].partition(":")[0]
        with self._lock:
            if self._build["building"]:
                raise Refused(BUILDING, "a build is running")
            self._build = {"building": True, "last_build_time": self._build["last_build_time"]}

        def build() -> None:
            error = ""
            try:
                self._daemon().images.build(
                    path=directory, tag=question.image_tag, buildargs=question.build_args, rm=True
                )
            except Exception as problem:  # noqa: BLE001 - the cell reads it in the status
                error = str(problem)
            status = {"building": False, "last_build_time": time.time_ns()}
            self._build = {**status, "last_error": error} if error else status

        threading.Thread(target=build, name="docker-build", daemon=True).start()

    def teardown(self) -> None:
        """Let go of the daemon; containers stay as they are."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def collected(pieces: Iterable[bytes], *, end: bool = False) -> bytes:
    """Put output together and keep its beginning, or its end, so that nobody can fill the host's memory."""
    kept = bytearray()
    with contextlib.closing(pieces):  # type: ignore[type-var]  # a generator, or the library's own stream
        for piece in pieces:
            kept += piece
            if len(kept) > 2 * LARGEST:
                if not end:
                    break
                del kept[:-LARGEST]
    return bytes(kept[-LARGEST:] if end else kept[:LARGEST])


def _spoken(connection: Any) -> Iterator[bytes]:
    """Yield what a command prints, both streams as they come, and close the connection in the end."""
    from docker.utils.socket import frames_iter

    plain = getattr(connection, "_sock", connection)  # what the library hands out is a file of it
    with contextlib.closing(plain), contextlib.closing(connection):
        for _stream, piece in frames_iter(connection, tty=False):
            yield piece


def _seconds(nanoseconds: int) -> str:
    """A time as the daemon wants it."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
