"""tool.acquire, toolchain.install and discovery.mdns (spec/pulp.md 3.11)."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile

import pytest
from tests.pulp.fixed_service import https_service

ACQUIRE = "tool.acquire"


@pytest.fixture
def installer(tmp_path) -> str:
    return f"mkdir -p {tmp_path}/bin && printf '#!/bin/sh\\n' > {tmp_path}/bin/newtool"


@pytest.fixture
def acquire(window, installer):
    settings = {"TOOL_ACQUIRE_INSTALLERS": f"\n{installer}\nexit 3\n"}
    return window(ACQUIRE, settings=settings).tool_acquire


def test_a_program_on_the_path_is_found(acquire) -> None:
    code, reply = acquire({"name": "sh"})
    assert (code, reply["ok"], reply["status"]) == (0, True, "resolved")
    assert reply["path"].endswith("/sh")
    assert acquire({"name": "no-such-tool"})[1]["status"] == "notfound"


def test_a_path_by_hand_is_checked(acquire, tmp_path) -> None:
    (tmp_path / "mine").write_text("")
    assert acquire({"source": "manual", "path": str(tmp_path / "mine")})[1]["path"] == str(tmp_path / "mine")
    assert acquire({"source": "manual", "path": str(tmp_path)})[1]["status"] == "notfound"


def test_an_installer_runs_only_when_it_is_listed(acquire, installer, tmp_path) -> None:
    expect = str(tmp_path / "bin" / "newtool")
    refused = acquire(
        {"name": "newtool", "source": "official", "install_cmd": f"touch {tmp_path}/x", "expect_path": expect}
    )[1]
    assert (refused["status"], (tmp_path / "x").exists()) == ("failed", False)
    assert "TOOL_ACQUIRE_INSTALLERS" in refused["message"]
    wanted = {
        "name": "newtool",
        "source": "official",
        "install_cmd": installer,
        "expect_path": expect,
    }
    assert acquire(wanted)[1]["status"] == "installed"
    assert acquire(wanted)[1]["status"] == "resolved"


def test_what_cannot_be_acquired(acquire) -> None:
    assert acquire({})[1]["status"] == "failed"
    assert acquire({"name": "a", "source": "torrent"})[1]["status"] == "unsupported"
    assert (
        "ended with 3"
        in acquire({"name": "a-tool", "source": "official", "install_cmd": "exit 3"})[1]["message"]
    )
    assert acquire(b"\xc1") == (3, None)


def tarball(**files: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name.replace("__", "/"), content)
    return data.getvalue()


ESCAPING = io.BytesIO()
with tarfile.open(fileobj=ESCAPING, mode="w:gz") as _tar:
    _tar.addfile(tarfile.TarInfo("../escaped"), io.BytesIO(b""))

BUNDLES = {
    "good": ("/good.tar.gz", tarball(go__bin__go=b"#!/bin/sh\n")),
    "flat": ("/flat.zip", zipped(cmd__git=b"x", readme=b"y")),
    "wild": ("/wild.tar.gz", ESCAPING.getvalue()),
    "torn": ("/torn.tar.gz", b"not an archive"),
    "swapped": ("/good.tar.gz", b"what was pinned was something else"),
    "lost": ("/lost.tar.gz", b""),
}


@pytest.fixture
def toolchain(window, tmp_path, monkeypatch):
    answers = {
        path: (200, {}, data, 0.0)
        for name, (path, data) in BUNDLES.items()
        if name not in ("swapped", "lost")
    }
    with https_service(tmp_path, answers) as (origin, asked):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        lines = [f"{n} {origin}{p} {hashlib.sha256(d).hexdigest()}" for n, (p, d) in BUNDLES.items()]
        yield window("toolchain.install", settings={"TOOLCHAIN_ARCHIVES": "\n".join(lines)}), asked


def test_a_pinned_toolchain_is_unpacked_once(toolchain, tmp_path) -> None:
    cell, asked = toolchain
    assert cell.toolchain_status({"lang": "good"})[1] == {"present": False, "path": ""}
    code, reply = cell.toolchain_install({"lang": "good"})
    assert (code, reply["ok"], reply["status"]) == (0, True, "present")
    program = tmp_path / "data" / "runtime" / "good" / "bin" / "go"
    assert program.read_bytes() == b"#!/bin/sh\n"
    assert program.stat().st_mode & 0o100
    assert cell.toolchain_install({"lang": "good"})[1]["ok"]
    assert asked == ["/good.tar.gz"]
    assert cell.toolchain_status({"lang": "good"})[1]["present"]
    assert cell.toolchain_install({"lang": "flat"})[1]["ok"]
    assert (tmp_path / "data" / "runtime" / "flat" / "readme").read_bytes() == b"y"


@pytest.mark.parametrize("lang", ["wild", "torn", "swapped", "lost"])
def test_what_cannot_be_trusted_leaves_nothing(toolchain, tmp_path, lang) -> None:
    cell, _ = toolchain
    code, reply = cell.toolchain_install({"lang": lang})
    assert (code, reply["ok"], reply["status"]) == (0, False, "failed")
    assert not cell.toolchain_status({"lang": lang})[1]["present"]
    assert list((tmp_path / "data" / "runtime").iterdir()) == []
    assert not (tmp_path / "data" / "escaped").exists()


def test_only_what_is_listed_is_installed(toolchain) -> None:
    assert toolchain[0].toolchain_install({"lang": "rust"})[1]["status"] == "unsupported"
    assert toolchain[0].toolchain_install({"lang": "../good"})[1]["status"] == "unsupported"


# --- multicast DNS, on loopback ----------------------------------------------------------------------


@pytest.fixture
def mdns(window):
    settings = {"MDNS_INTERFACES": "127.0.0.1"}
    return window("discovery.mdns", settings=settings)


def test_services_are_announced_and_found(mdns) -> None:
    from zeroconf import DNSQuestionType, Zeroconf

    # The network is shared with other runs of this test on the same machine.
    service = f"_gh{os.getpid()}._tcp"
    assert mdns.mdns_announce({"instance": "here", "service": service, "port": 4242}) == (0, None)
    assert mdns.mdns_announce({"instance": "here", "service": service, "port": 4242}) == (0, None)
    other = Zeroconf(interfaces=["127.0.0.1"])
    try:
        names = f"{service}.local.", f"here.{service}.local."
        info = other.get_service_info(*names, 20_000, question_type=DNSQuestionType.QM)
        assert info is not None
        assert (info.port, info.parsed_addresses()) == (4242, ["127.0.0.1"])
        assert mdns.mdns_browse({"service": service, "timeout_ms": 200}) == (0, None)  # its own are left out
        import ipaddress

        from zeroconf import ServiceInfo

        theirs = ServiceInfo(
            f"{service}.local.", f"there.{service}.local.", port=4343,
            addresses=[ipaddress.ip_address("127.0.0.1").packed], server="there.local.",
        )  # fmt: skip
        other.register_service(theirs)
        answers = (mdns.mdns_browse({"service": service, "timeout_ms": 1000}) for _ in range(15))
        assert next(answer for answer in answers if answer[1]) == (
            0, [{"name": "there", "addr": "http://127.0.0.1:4343"}],
        )  # fmt: skip
    finally:
        other.close()


@pytest.mark.parametrize("service", ["gh._tcp", "_gh._sctp", "_" + "x" * 20 + "._tcp", "_a._tcp.evil"])
def test_services_that_are_none(mdns, service) -> None:
    assert mdns.mdns_browse({"service": service}) == (3, None)
    assert mdns.mdns_announce({"service": service, "port": 1}) == (3, None)


def test_ports_that_are_none(mdns) -> None:
    assert mdns.mdns_announce({"service": "_a._tcp", "port": 0}) == (3, None)
    assert mdns.mdns_announce({"service": "_a._tcp", "port": 70000}) == (3, None)
