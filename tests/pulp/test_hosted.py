"""Cells in a `guesthouse.Host`: resident, called by name, serving HTTP."""

from __future__ import annotations

import httpx
import pytest

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
