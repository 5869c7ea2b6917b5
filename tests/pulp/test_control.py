"""The control socket and ``guesthouse ctl`` (spec/pulp.md 5.10)."""

from __future__ import annotations

import json
import socket
import stat
import struct
import threading
import time
from pathlib import Path

import pytest

from guesthouse.cli import main
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.control import ControlSocket
from guesthouse.interfaces.pulp.extension import Event
from guesthouse.interfaces.pulp.framing import FRAME_LIMIT, BadFrame, ask

KIT = {"wasm": "kit.c"}


@pytest.fixture
def controlled(application, tmp_path):
    app = application({**KIT, "name": "kit"}, {**KIT, "name": "other"})
    asked = threading.Event()
    path = tmp_path / "pulp.ctl"
    with ControlSocket(path, app.runtime, asked.set) as control:
        control.app, control.asked = app, asked
        yield control
    assert not path.exists()


def raw(path: Path, data: bytes) -> dict:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    (length,) = struct.unpack("<I", answer[:4])
    assert len(answer) == 4 + length
    return codec.decode(answer[4:])


def test_only_the_owner_may_use_the_socket(controlled) -> None:
    assert stat.S_IMODE(controlled.path.stat().st_mode) == 0o600


def test_status_shows_every_cell_with_its_counters(controlled) -> None:
    reply = ask(controlled.path, {"op": "status"})
    assert reply["ok"] is True
    row = reply["cells"][0]
    assert (row["name"], row["state"]) == ("kit", "ready")
    assert row["steps"] > 0
    assert {"restarts", "runaways", "queued", "dropped", "drops", "instances"} <= row.keys()


def test_reload_and_shutdown_reach_the_named_cell_only(controlled) -> None:
    runtime = controlled.app.runtime
    for name in ("kit", "other"):
        runtime.cell(name).call("count")
    assert ask(controlled.path, {"op": "reload", "cell": "kit"}) == {"ok": True}
    assert runtime.cell("kit").call("count") == b"\1\0\0\0"
    assert runtime.cell("other").call("count") == b"\2\0\0\0"
    assert ask(controlled.path, {"op": "shutdown", "cell": "kit"}) == {"ok": True}
    states = {row["name"]: row["state"] for row in ask(controlled.path, {"op": "status"})["cells"]}
    assert states == {"kit": "stopped", "other": "ready"}
    assert ask(controlled.path, {"op": "reload", "cell": "kit"}) == {"ok": True}
    assert runtime.cell("kit").call("count") == b"\1\0\0\0"


def test_shutdown_all_only_asks(controlled) -> None:
    assert ask(controlled.path, {"op": "shutdown_all"}) == {"ok": True}
    assert controlled.asked.is_set()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "ended within a frame"),
        (b"\1\0", "ended within a frame"),
        (struct.pack("<I", 0), "1 to 1048576 bytes, not 0"),
        (struct.pack("<I", FRAME_LIMIT + 1), "not 1048577"),
        (struct.pack("<I", 9) + b"abc", "ended within a frame"),
        (struct.pack("<I", 1) + b"\xc1", "no MessagePack"),
        (struct.pack("<I", 1) + b"\x05", "holds no map"),
        (struct.pack("<I", 1) + b"\x80", "unknown op None"),
    ],
)
def test_garbage_is_answered_and_the_next_request_is_served(controlled, data, error) -> None:
    assert error in raw(controlled.path, data)["error"]
    assert ask(controlled.path, {"op": "status"})["ok"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"op": "dance"}, "unknown op 'dance'; there are: status, reload, shutdown, shutdown_all"),
        ({"op": "reload"}, "reload needs the name of a cell"),
        ({"op": "shutdown", "cell": 7}, "shutdown needs the name of a cell"),
        ({"op": "reload", "cell": "kid"}, "kid"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(controlled, request_, error) -> None:
    assert error in ask(controlled.path, request_)["error"]


def test_a_request_of_the_largest_frame_is_read_and_a_larger_one_is_not_sent(controlled) -> None:
    fixed = len(codec.encode({"op": "dance", "pad": b"x" * 70_000})) - 70_000
    reply = ask(controlled.path, {"op": "dance", "pad": b"x" * (FRAME_LIMIT - fixed)})
    assert "unknown op" in reply["error"]
    with pytest.raises(BadFrame, match="at most 1048576 bytes"):
        ask(controlled.path, {"op": "dance", "pad": b"x" * FRAME_LIMIT})


def test_silent_clients_keep_nobody_waiting(controlled) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    try:
        for each in silent:
            each.connect(str(controlled.path))
        started = time.monotonic()
        assert ask(controlled.path, {"op": "status"})["ok"]
        assert time.monotonic() - started < 2
    finally:
        for each in silent:
            each.close()


def test_a_socket_left_behind_is_replaced_but_a_live_one_is_not(controlled, application, tmp_path) -> None:
    with pytest.raises(FileExistsError, match="another host listens"):
        ControlSocket(controlled.path, controlled.app.runtime, lambda: None)
    left = tmp_path / "left.ctl"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(left))
    with ControlSocket(left, controlled.app.runtime, lambda: None):
        assert ask(left, {"op": "status"})["ok"]
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(FileExistsError, match="no socket"):
        ControlSocket(file, controlled.app.runtime, lambda: None)
    assert file.read_text() == "precious"


def test_the_command_prints_rows_json_and_errors(controlled, capsys) -> None:
    runtime = controlled.app.runtime
    runtime.cell("kit")._turn.take()
    try:
        for _ in range(70):
            runtime.post(Event("k", b"\1", "kit"))
    finally:
        runtime.cell("kit")._turn.release()
    there = ["--socket", str(controlled.path)]
    assert main(["ctl", "status", *there]) == 0
    out = capsys.readouterr().out
    assert "kit" in out
    assert "ready" in out
    assert main(["ctl", "status", "--json", *there]) == 0
    rows = json.loads(capsys.readouterr().out)["cells"]
    assert rows[0]["dropped"] >= 5
    assert main(["ctl", "reload", "kit", *there]) == 0
    assert main(["ctl", "shutdown", "other", *there]) == 0
    assert main(["ctl", "reload", "nobody", *there]) == 125
    assert "nobody" in capsys.readouterr().err
    assert main(["ctl", "reload", *there]) == 125
    assert "needs the name of a cell" in capsys.readouterr().err
    assert main(["ctl", "status", "kit", *there]) == 125
    assert main(["ctl", "status", "--socket", str(controlled.path) + ".none"]) == 125
    assert "no host listens at" in capsys.readouterr().err
    assert main(["ctl", "dance"]) == 2
