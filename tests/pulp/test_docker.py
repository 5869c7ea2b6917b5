"""spawn.docker (spec/pulp.md 3.10), against a real daemon where there is one."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import time
from pathlib import Path

import pytest
from tests.pulp.conftest import Window
from tests.pulp.daemons import docker_host

from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Refused
from guesthouse.interfaces.pulp.extensions import containers
from guesthouse.interfaces.pulp.extensions import docker as extension
from guesthouse.interfaces.pulp.extensions.containers import ContainerPolicy

NAME = "spawn.docker"
IMAGE = "guesthouse-test:1"


@pytest.fixture(scope="module")
def server():
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox to make an image of")
    with docker_host() as host:
        docker = pytest.importorskip("docker")
        client = docker.DockerClient(base_url=host, timeout=20)
        client.host = host
        _make_image(client, busybox)
        yield client
        client.images.remove(IMAGE, force=True)
        client.close()


def _make_image(client, busybox: str) -> None:
    """Make an image of one program and nothing else."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "sleep", "cat", "rm", "echo"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name in ("tmp", "proc", "sys", "dev", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(folder)
    client.api.import_image_from_data(archive.getvalue(), repository="guesthouse-test", tag="1",
                                      changes=['CMD ["/bin/sh", "-c", "echo hello; exec sleep 600"]'])  # fmt: skip


@pytest.fixture
def daemon(server):
    """The daemon's client; what a test made there goes with it."""
    yield server
    for container in server.containers.list(all=True):
        if container.name.startswith("pulp-docker"):
            container.remove(force=True)


@pytest.fixture
def cell(window, daemon, tmp_path):
    """A cell called ``docker``, scoped as by default."""
    return window(
        NAME, name="docker", settings={"DOCKER_BIND_ROOTS": str(tmp_path), "DOCKER_HOST": daemon.host}
    )


def eventually(question, holds, seconds: float = 10):
    deadline = time.monotonic() + seconds
    while not holds(answer := question()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def test_the_life_of_a_container(cell, tmp_path) -> None:
    wanted = {
        "image": IMAGE, "name": "pulp-docker-life", "environment": {"COLOUR": "red"}, "cpu_limit": 0.5,
        "memory_limit": 64 << 20, "pids_limit": 32, "volumes": [f"{tmp_path}:/host:ro"],
    }  # fmt: skip
    (tmp_path / "given").write_text("from the host")
    code, made = cell.docker_create(wanted)
    assert code == 0, made
    assert (made["name"], made["status"], made["cpu_limit"]) == ("pulp-docker-life", "running", 0.5)
    number = made["id"]
    assert cell.docker_get({"name": "pulp-docker-life"})[1]["id"] == number
    assert cell.docker_exec({"id": number, "cmd": ["sh", "-c", "echo $COLOUR; cat /host/given"]}) == (
        0, {"output": "red\nfrom the host"},
    )  # fmt: skip
    assert eventually(lambda: cell.docker_logs({"id": number})[1], lambda a: a["logs"])["logs"] == "hello\n"
    code, used = cell.docker_stats({"id": number})
    assert code == 0
    assert used["memory_usage"] > 0
    assert cell.docker_restart({"id": number}) == (0, None)
    assert cell.docker_destroy({"id": number}) == (0, None)
    assert cell.docker_get({"name": number}) == (6, None)
    assert cell.docker_destroy({"id": number}) == (6, None)


def test_files_go_in_and_come_out(cell) -> None:
    number = cell.docker_create({"image": IMAGE, "name": "pulp-docker-files"})[1]["id"]
    data = bytes(range(256))
    assert cell.docker_files_write({"id": number, "path": "/tmp/a", "data": data}) == (0, None)
    assert cell("docker_files_read", {"id": number, "path": "/tmp/a"}) == (0, data)
    assert cell.docker_files_read({"id": number, "path": "/tmp"}) == (4, None)
    assert cell.docker_files_delete({"container": number, "path": "/tmp/a"}) == (0, None)
    assert cell.docker_files_read({"id": number, "path": "/tmp/a"}) == (6, None)
    assert cell.docker_files_write({"id": number, "path": "relative", "data": b""}) == (3, None)
    assert cell.docker_destroy({"id": number}) == (0, None)


@pytest.mark.parametrize("names", [("docker", "docker-b"), ("docker-b", "docker")])
def test_each_cell_sees_its_own(application, daemon, names) -> None:
    tables = [{"wasm": "any.c", "name": name, "capabilities": [NAME]} for name in names]
    app = application(*tables, settings={"DOCKER_HOST": daemon.host})
    mine, theirs = (Window(app.runtime.cell(table["name"])) for table in tables)
    code, made = mine.docker_create({"image": IMAGE, "name": "mine"})
    assert (code, made["name"]) == (0, f"pulp-{names[0]}-mine")
    assert [each["id"] for each in mine.docker_list(b"")[1]] == [made["id"]]
    assert theirs.docker_list(b"") == (0, None)
    for name in (made["id"], made["name"]):
        assert theirs.docker_get({"name": name}) == (6, None)
        assert theirs.docker_exec({"id": name, "cmd": ["echo"]}) == (6, None)
        assert theirs.docker_destroy({"id": name}) == (6, None)
    assert mine.docker_destroy({"id": made["id"]}) == (0, None)


def test_events_tell_what_happened(cell) -> None:
    since = time.time_ns()
    number = cell.docker_create({"image": IMAGE, "name": "pulp-docker-events"})[1]["id"]
    cell.docker_destroy({"id": number})
    seen = eventually(
        lambda: cell.docker_events_poll({"since_nanos": since})[1] or [],
        lambda a: any(e["action"] == "destroy" for e in a),
    )
    actions = [event["action"] for event in seen if event["container_id"] == number]
    assert {"create", "start", "destroy"} <= set(actions)
    assert len(cell.docker_events_poll({"since_nanos": since, "limit": 1})[1]) == 1


def test_containers_of_a_cell_are_bounded(window, daemon) -> None:
    limits = {"DOCKER_HOST": daemon.host, "DOCKER_MAX_PER_CELL": "2"}
    cell = window(NAME, name="docker-few", settings=limits)
    made = [cell.docker_create({"image": IMAGE}) for _ in range(3)]
    assert [code for code, _ in made] == [0, 0, 4]
    attributes = daemon.containers.get(made[0][1]["id"]).attrs
    assert attributes["HostConfig"]["PidsLimit"] == 4096
    for _, container in made[:2]:
        assert cell.docker_destroy({"id": container["id"]}) == (0, None)
    assert cell.docker_create({"image": IMAGE})[0] == 0


def test_endless_output_is_cut(cell, monkeypatch) -> None:
    monkeypatch.setattr(extension, "LARGEST", 10_000)
    number = cell.docker_create({"image": IMAGE, "name": "talks"})[1]["id"]
    code, said = cell.docker_exec({"id": number, "cmd": ["sh", "-c", "while true; do echo word; done"]})
    assert (code, len(said["output"])) == (0, 10_000)


def test_an_image_is_built_beside_the_cell(cell, daemon, tmp_path) -> None:
    (tmp_path / "Dockerfile").write_text(f"ARG WORD\nFROM {IMAGE}\nARG WORD\nENV SAID=$WORD\n")
    assert cell.docker_build_status(b"")[1] == {"building": False, "last_build_time": 0}
    wanted = {"image_tag": "guesthouse-built:1", "build_dir": str(tmp_path), "build_args": {"WORD": "built"}}
    try:
        assert cell.docker_build(wanted) == (0, None)
        status = eventually(
            lambda: cell.docker_build_status(b"")[1], lambda a: a["last_build_time"] and not a["building"], 60
        )
        assert "last_error" not in status
        number = cell.docker_create({"image": "guesthouse-built:1", "name": "built"})[1]["id"]
        said = cell.docker_exec({"id": number, "cmd": ["sh", "-c", "echo $SAID"]})
        assert said == (0, {"output": "built\n"})
        assert [each["id"] for each in cell.docker_stats_all(b"")[1]] == [number]
        assert cell.docker_destroy({"id": number}) == (0, None)
        (tmp_path / "Dockerfile").write_text("FROM guesthouse-nowhere:0\n")
        assert cell.docker_build(wanted) == (0, None)
        before = status["last_build_time"]
        status = eventually(
            lambda: cell.docker_build_status(b"")[1], lambda a: a["last_build_time"] > before, 60
        )
        assert status["last_error"]
    finally:
        daemon.images.remove("guesthouse-built:1", force=True)
    assert cell.docker_build({**wanted, "build_dir": "/etc"}) == (11, None)
    assert cell.docker_build({"image_tag": "x"}) == (3, None)


def test_an_image_that_does_not_exist_leaves_nothing_behind(cell, daemon) -> None:
    assert cell.docker_create({"image": "guesthouse-nowhere:0", "name": "pulp-docker-ghost"}) == (6, None)
    assert cell.docker_create({"image": ""}) == (3, None)
    assert cell.docker_create({"image": IMAGE, "volumes": ["/etc:/x"]}) == (11, None)
    assert cell.docker_create({"image": IMAGE, "name": "pulp-docker-bad", "network": "no-such-network"})[
        0
    ] in (4, 6)
    assert not [c for c in daemon.containers.list(all=True) if c.name == "pulp-docker-bad"]


def test_without_a_daemon_it_is_code_10(window) -> None:
    pytest.importorskip("docker")
    settings = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    cell = window(NAME, settings=settings)
    assert cell.docker_list(b"") == (10, None)


def test_undeclared_it_is_absent(window) -> None:
    assert window().docker_list(b"") == (99, None)


# --- the rules that need no daemon -------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    ["/etc:/x", "/proc:/x", "/var/run/docker.sock:/s", "{root}/../../etc:/x", "{root}/link:/x", "{root}x:/x"],
)
def test_sources_outside_the_roots_are_never_mounted(tmp_path: Path, entry: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    policy = ContainerPolicy({"DOCKER_BIND_ROOTS": str(tmp_path)})
    with pytest.raises(Refused) as caught:
        policy.volumes([entry.format(root=tmp_path)])
    assert caught.value.code == 11


def test_the_docker_socket_is_never_mounted_even_beneath_a_root() -> None:
    with pytest.raises(Refused):
        ContainerPolicy({"DOCKER_BIND_ROOTS": "/"}).volumes(["/var/run/docker.sock:/s"])


def test_without_roots_nothing_is_mounted(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        ContainerPolicy({}).volumes([f"{tmp_path}:/x"])


@pytest.mark.parametrize("entry", ["relative:/x", "/tmp", "/tmp:x", "/tmp:/x:rwx"])
def test_mounts_that_are_none(entry: str) -> None:
    with pytest.raises(DecodeError):
        ContainerPolicy({"DOCKER_BIND_ROOTS": "/tmp"}).volumes([entry])


def test_names_keep_to_their_cell() -> None:
    policy = ContainerPolicy({})
    assert policy.name("a", "web") == "pulp-a-web"
    assert policy.name("a", "pulp-a-web") == "pulp-a-web"
    assert policy.name("a", "pulp-b-web") == "pulp-a-pulp-b-web"
    assert policy.name("a", "").startswith("pulp-a-")
    assert policy.owns("a", "/pulp-a-web", {})
    assert not policy.owns("a", "pulp-ab-web", {})
    assert not policy.owns("a", "web", {})
    assert policy.owns("a", "renamed", {"pulp.cell": "a"})
    assert not policy.owns("a", "pulp-a-b-web", {"pulp.cell": "a-b"})


def test_cells_of_applications_have_names_that_a_daemon_takes_and_nobody_shares() -> None:
    policy = ContainerPolicy({})
    one, two = (policy.name(f"pulp-scope/v1/4:shop|{len(n)}:{n}|3:web|1:1", "db") for n in ("one", "two"))
    assert one != two
    for name in (one, two):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,120}", name)


def test_ports() -> None:
    assert containers.ports([{"host": 0, "container": 80}]) == {"80/tcp": None}
    assert containers.ports([{"host": 9000, "container": 53, "protocol": "UDP", "range": 2}]) == {
        "53/udp": 9000, "54/udp": 9001,
    }  # fmt: skip
    for bad in (
        [{"host": 1}],
        [{"container": 70000}],
        [{"container": True}],
        ["80"],
        [{"container": 1, "protocol": "x"}],
    ):
        with pytest.raises(DecodeError):
            containers.ports(bad)
