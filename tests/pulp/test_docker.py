"""spawn.docker (spec/pulp.md 3.10), against a real daemon where there is one."""

from __future__ import annotations

import io
import shutil
import tarfile
import time
from pathlib import Path

import pytest

from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Refused
from guesthouse.interfaces.pulp.extensions import containers
from guesthouse.interfaces.pulp.extensions.containers import ContainerPolicy

NAME = "spawn.docker"
IMAGE = "guesthouse-test:1"


@pytest.fixture(scope="module")
def daemon():
    docker = pytest.importorskip("docker")
    if not Path("/var/run/docker.sock").is_socket():
        pytest.skip("no Docker daemon on this machine")
    client = docker.from_env(timeout=20)
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox to make an image of")
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
    yield client
    for container in client.containers.list(all=True):
        if container.name.startswith("pulp-docker-"):
            container.remove(force=True)
    client.images.remove(IMAGE, force=True)
    client.close()


@pytest.fixture
def cells(forwarders, daemon, tmp_path):
    def start(**shapes: str):
        settings = {"DOCKER_BIND_ROOTS": str(tmp_path), "DOCKER_SCOPE_DISABLE": "1"}
        return forwarders(NAME, settings=settings, **shapes)

    return start


@pytest.fixture
def own(forwarders, daemon, tmp_path):
    """One cell that makes containers, scoped as by default."""
    return forwarders(
        NAME, settings={"DOCKER_BIND_ROOTS": str(tmp_path)}, docker_create="qo", docker_list="qo"
    )


def eventually(question, holds, seconds: float = 10):
    deadline = time.monotonic() + seconds
    while not holds(answer := question()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def test_the_life_of_a_container(cells, tmp_path) -> None:
    create, get, run, logs, stats, restart, destroy = cells(
        docker_create="qo", docker_get="qo", docker_exec="qo", docker_logs="qo", docker_stats="qo",
        docker_restart="q", docker_destroy="q",
    )  # fmt: skip
    wanted = {
        "image": IMAGE, "name": "pulp-docker-life", "environment": {"COLOUR": "red"}, "cpu_limit": 0.5,
        "memory_limit": 64 << 20, "pids_limit": 32, "volumes": [f"{tmp_path}:/host:ro"],
    }  # fmt: skip
    (tmp_path / "given").write_text("from the host")
    code, made = create(wanted)
    assert code == 0, made
    assert (made["name"], made["status"], made["cpu_limit"]) == ("pulp-docker-life", "running", 0.5)
    number = made["id"]
    assert get({"name": "pulp-docker-life"})[1]["id"] == number
    assert run({"id": number, "cmd": ["sh", "-c", "echo $COLOUR; cat /host/given"]}) == (
        0, {"output": "red\nfrom the host"},
    )  # fmt: skip
    assert eventually(lambda: logs({"id": number})[1], lambda a: a["logs"])["logs"] == "hello\n"
    code, used = stats({"id": number})
    assert code == 0
    assert used["memory_usage"] > 0
    assert restart({"id": number}) == (0, None)
    assert destroy({"id": number}) == (0, None)
    assert get({"name": number}) == (6, None)
    assert destroy({"id": number}) == (6, None)


def test_files_go_in_and_come_out(cells) -> None:
    create, write, read, delete, destroy = cells(
        docker_create="qo", docker_files_write="q", docker_files_read="qo", docker_files_delete="q",
        docker_destroy="q",
    )  # fmt: skip
    number = create({"image": IMAGE, "name": "pulp-docker-files"})[1]["id"]
    data = bytes(range(256))
    assert write({"id": number, "path": "/tmp/a", "data": data}) == (0, None)
    raw = read.application.runtime.cell(read.cell).call("forward", _encoded({"id": number, "path": "/tmp/a"}))
    assert raw[4:] == data
    assert read({"id": number, "path": "/tmp"}) == (4, None)
    assert delete({"container": number, "path": "/tmp/a"}) == (0, None)
    assert read({"id": number, "path": "/tmp/a"}) == (6, None)
    assert write({"id": number, "path": "relative", "data": b""}) == (3, None)
    assert destroy({"id": number}) == (0, None)


def _encoded(value) -> bytes:
    from guesthouse.interfaces.pulp import codec

    return codec.encode(value)


def test_each_cell_sees_its_own(own, daemon) -> None:
    create, listing = own
    code, made = create({"image": IMAGE, "name": "mine"})
    assert (code, made["name"]) == (0, "pulp-docker-create-mine")
    assert listing() == (0, None)  # another cell's name, another prefix
    daemon.containers.get(made["id"]).remove(force=True)


def test_events_tell_what_happened(cells) -> None:
    create, destroy, events = cells(docker_create="qo", docker_destroy="q", docker_events_poll="qo")
    since = time.time_ns()
    number = create({"image": IMAGE, "name": "pulp-docker-events"})[1]["id"]
    destroy({"id": number})
    seen = eventually(
        lambda: events({"since_nanos": since})[1] or [], lambda a: any(e["action"] == "destroy" for e in a)
    )
    actions = [event["action"] for event in seen if event["container_id"] == number]
    assert {"create", "start", "destroy"} <= set(actions)
    assert len(events({"since_nanos": since, "limit": 1})[1]) == 1


def test_an_image_that_does_not_exist_leaves_nothing_behind(cells, daemon) -> None:
    (create,) = cells(docker_create="qo")
    assert create({"image": "guesthouse-nowhere:0", "name": "pulp-docker-ghost"}) == (6, None)
    assert create({"image": ""}) == (3, None)
    assert create({"image": IMAGE, "volumes": ["/etc:/x"]}) == (11, None)
    assert create({"image": IMAGE, "name": "pulp-docker-bad", "network": "no-such-network"})[0] in (4, 6)
    assert not [c for c in daemon.containers.list(all=True) if c.name == "pulp-docker-bad"]


def test_without_a_daemon_it_is_code_10(forwarders) -> None:
    pytest.importorskip("docker")
    settings = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    (listing,) = forwarders(NAME, settings=settings, docker_list="qo")
    assert listing() == (10, None)


def test_undeclared_it_is_absent(forwarders) -> None:
    (listing,) = forwarders(NAME, granted=False, docker_list="qo")
    assert listing() == (99, None)


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
    assert policy.owns("a", "/pulp-a-web")
    assert not policy.owns("a", "pulp-ab-web")
    assert not policy.owns("a", "web")


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
