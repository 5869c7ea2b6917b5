"""Cells in a `guesthouse.Host`: resident, called by name, serving HTTP."""

from __future__ import annotations

import httpx
import pytest
from tests.pulp.conftest import Window

import guesthouse
from guesthouse.interfaces.pulp import codec


@pytest.fixture
def host(tmp_path):
    with guesthouse.Host(pulp={"storage_root": tmp_path, "settings": {"HTTP_PORT": "0"}}) as host:
        yield host


def test_a_cell_is_one_resident_guest_with_state(host, build) -> None:
    kit = host.load(build("kit.c"), name="kit", config={"n": 1})
    assert kit.interface == "pulp"
    assert kit.call(b"abc", entry="reverse") == b"cba"
    assert kit.call(entry="count") == b"\1\0\0\0"
    assert host.call("kit", entry="count") == b"\2\0\0\0"
    assert kit.submit(b"", entry="count").result().output == b"\3\0\0\0"
    assert kit.call(entry="config") == codec.encode({"n": 1})


def test_failures_have_the_codes_and_types_of_every_guest(host, build) -> None:
    kit = host.load(build("kit.c"), name="kit")
    assert kit.invoke(b"\x07", entry="fail").code == 7
    with pytest.raises(guesthouse.GuestFailed):
        kit.call(b"\x07", entry="fail")
    with pytest.raises(guesthouse.Trap):
        kit.call(entry="trap")


@pytest.mark.parametrize(("restart", "survives"), [("never", False), ("on_crash", True)])
def test_a_crashed_cell_comes_back_if_it_is_to(host, build, restart, survives) -> None:
    kit = host.load(build("kit.c"), name="kit", restart=restart)
    assert isinstance(kit.invoke(entry="trap").error, guesthouse.Trap)
    again = kit.invoke(entry="count")
    assert (again.error is None) is survives


def test_an_unknown_restart_policy_is_refused(host, build) -> None:
    with pytest.raises(guesthouse.LoadError, match="restart is one of never, on_crash, always, not 'maybe'"):
        host.load(build("kit.c"), name="kit", restart="maybe")


def test_gating_is_that_of_the_host(host, build) -> None:
    request = codec.encode({"n": 5})
    assert host.load(build("kit.c"), name="without").call(request, entry="entropy") == b"\x63"
    granted = host.load(build("kit.c"), name="with", grant=["entropy.read"]).call(request, entry="entropy")
    assert granted[0] == 0
    with pytest.raises(guesthouse.UnknownCapability):
        host.load(build("kit.c"), name="typo", grant=["entropy.reed"])


def test_siblings_find_each_other_within_their_tenant(host, build) -> None:
    for tenant in ("default", "other"):
        host.load(build("kit.c"), name="b", tenant=tenant)
    host.load(build("kit.c"), name="a")
    assert host.call("a", b"b|count|", entry="relay") == b"\0\1\0\0\0"
    assert host.call("b", entry="count") == b"\2\0\0\0"
    assert host.call("b", entry="count", tenant="other") == b"\1\0\0\0"
    assert host.call("a", b"nobody|count|", entry="relay") == b"\4"


def test_a_hosted_cell_serves_http_and_gives_the_route_back_when_unloaded(host, build) -> None:
    host.load(build("goecho"), name="echo", grant=["transport.http.inbound"], config={"prefix": ">"})
    url = host.service("pulp").catalogue.http.url
    got = httpx.get(f"{url}/echo/word")
    assert (got.text, got.headers["x-cell"]) == (">word", "go")
    assert got.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    host.unload("echo")
    assert httpx.get(f"{url}/echo/word").status_code == 404


def test_cells_of_one_name_in_two_tenants_share_no_files_nor_database(host, build, tmp_path) -> None:
    grants = ["storage.fs", "storage.sqlite"]
    windows = []
    for tenant in ("default", "acme", "..", "a/b"):
        host.load(build("any.c"), name="any", tenant=tenant, grant=grants)
        windows.append(Window(Calls(host, "any", tenant)))
    for number, window in enumerate(windows):
        assert window("fs_write", b"own", b"%d" % number, b"")[0] == 0
        assert window.sqlite_exec(f"CREATE TABLE t{number} (x)", b"")[0] == 0
    for number, window in enumerate(windows):
        assert window("fs_read", b"own") == (0, b"%d" % number)
        tables = window.sqlite_query("SELECT name FROM sqlite_master", b"")[1]["rows"]
        assert tables == [[f"t{number}"]]
    assert (tmp_path / "any" / "own").read_bytes() == b"0"
    assert (tmp_path / ".tenants" / "acme" / "any" / "own").read_bytes() == b"1"
    with pytest.raises(guesthouse.LoadError, match="cannot name a directory"):
        host.load(build("any.c"), name=".tenants", grant=grants).call(b"", entry="events")


def test_a_guests_limit_of_disk_is_its_cells(host, build) -> None:
    host.load(build("any.c"), name="any", grant=["storage.fs"], limits=guesthouse.Limits(disk="1KiB"))
    window = Window(Calls(host, "any", "default"))
    assert window("fs_write", b"a", bytes(1024), b"")[0] == 0
    assert window("fs_write", b"b", b"x", b"")[0] == 4


class Calls:
    """A guest of a host, called as a cell is."""

    def __init__(self, host, name: str, tenant: str) -> None:
        self.host, self.name, self.tenant = host, name, tenant

    def call(self, function: str, args: bytes = b"") -> bytes:
        return self.host.call(self.name, args, entry=function, tenant=self.tenant)
