"""The control socket (spec/pulp.md 5.10)."""

from __future__ import annotations

import socket
import stat
import struct
import subprocess
import sys
import threading

import pytest

from guesthouse.errors import ResourceError
from guesthouse.interfaces.pulp import codec, control

KIT = {"wasm": "kit.c", "name": "kit"}


@pytest.fixture
def controlled(application, tmp_path):
    app = application(KIT)
    app.path = tmp_path / "ctl"
    app.ended = threading.Event()
    with control.control_socket(app.runtime, str(app.path), app.ended.set):
        yield app
    assert not app.path.exists()


def test_status_reload_and_shutdown(controlled) -> None:
    assert stat.S_IMODE(controlled.path.stat().st_mode) == 0o600
    reply = control.ask(controlled.path, "status")
    assert reply["ok"] is True
    (row,) = reply["cells"]
    assert (row["name"], row["state"]) == ("kit", "ready")
    assert row["steps"] >= 0
    controlled.runtime.cell("kit").call("count")
    assert control.ask(controlled.path, "reload", "kit") == {"ok": True}
    assert controlled.runtime.cell("kit").call("count") == b"\1\0\0\0"
    assert control.ask(controlled.path, "shutdown", "kit") == {"ok": True}
    assert control.ask(controlled.path, "status")["cells"][0]["state"] == "stopped"
    assert control.ask(controlled.path, "reload", "kit") == {"ok": True}
    assert control.ask(controlled.path, "status")["cells"][0]["state"] == "ready"
    assert not controlled.ended.is_set()
    assert control.ask(controlled.path, "shutdown_all") == {"ok": True}
    assert controlled.ended.wait(5)


def test_requests_that_are_refused(controlled) -> None:
    assert "no cell named 'ghost'; there are: kit" in control.ask(controlled.path, "reload", "ghost")["error"]
    assert control.ask(controlled.path, "reload")["error"] == "reload needs a cell"
    assert "unknown op 'dance'" in control.ask(controlled.path, "dance")["error"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\1",
        struct.pack("<I", 0),
        struct.pack("<I", (1 << 20) + 1),
        struct.pack("<I", 10) + b"abc",
        struct.pack("<I", 1) + b"\xc1",
        struct.pack("<I", 1) + b"\x05",
    ],
)
def test_broken_frames_are_answered_and_harm_nobody(controlled, raw) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(controlled.path))
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        assert "error" in control.receive_frame(client)
    assert control.ask(controlled.path, "status")["ok"] is True


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(
    controlled, application, tmp_path, caplog
) -> None:
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    with control.control_socket(controlled.runtime, str(stale)):
        assert control.ask(stale, "status")["ok"] is True
    with control.control_socket(controlled.runtime, str(controlled.path)):
        assert control.ask(controlled.path, "status")["ok"] is True
    assert controlled.path.exists()
    with control.control_socket(controlled.runtime, str(tmp_path / "no" / "such" / "dir")):
        pass
    with control.control_socket(controlled.runtime, ""):
        pass


def test_nobody_there_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(ResourceError, match=r"no answer at .*is `guesthouse up` running here"):
        control.ask(tmp_path / "none", "status")


def test_frames_are_as_documented(controlled) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(controlled.path))
        body = codec.encode({"op": "status"})
        client.sendall(struct.pack("<I", len(body)) + body)
        (length,) = struct.unpack("<I", client.recv(4))
        assert codec.decode(client.recv(length))["ok"] is True


def test_the_command_line_shows_the_cells(controlled) -> None:
    command = [sys.executable, "-m", "guesthouse.cli", "ctl", "status", "--socket", str(controlled.path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "kit" in shown
    assert "ready" in shown
    failed = subprocess.run(
        [*command[:4], "reload", "ghost", *command[5:]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode != 0
    assert "no cell named 'ghost'" in failed.stderr
