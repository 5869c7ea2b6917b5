"""spawn.process and spawn.pty (spec/pulp.md 3.11): what may run, how it ends, that nothing stays behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.pulp.conftest import Window

from guesthouse.errors import DeadlineExceeded
from guesthouse.interfaces.pulp.extensions import pty, tasks

SETTINGS = {"PROCESS_ALLOW_BINS": "sh,cat,sleep,/bin/echo", "PROCESS_RUN_ROOTS": "/usr:/tmp"}


@pytest.fixture
def cell(window):
    return window("spawn.process", settings=SETTINGS)


def gone(pid: str) -> bool:
    """Whether a process ends within seconds; whoever adopted it may not have noticed yet."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def finished(cell, number: int) -> tuple[int, dict]:
    """Wait for a program to end, as a cell does: by asking."""
    deadline = time.monotonic() + 20
    while not (answer := cell.process_result(number))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer


def test_a_program_runs_and_its_result_is_read_once(cell) -> None:
    number, _ = cell.process_run({"argv": ["sh", "-c", "echo out; echo err >&2; exit 3"]})
    assert number >= 100
    assert finished(cell, number) == (1, {"exit_code": 3, "stdout": b"out\n", "stderr": b"err\n"})
    assert cell.process_result(number) == (4, None)


def test_arguments_are_no_shell(cell) -> None:
    number, _ = cell.process_run({"argv": ["/bin/echo", "$HOME;", "`id`", "a b"]})
    assert finished(cell, number)[1]["stdout"] == b"$HOME; `id` a b\n"


def test_directory_and_environment(cell, tmp_path) -> None:
    number, _ = cell.process_run(
        {"argv": ["sh", "-c", "pwd; echo $COLOUR"], "dir": "/usr", "env": {"COLOUR": "red"}}
    )
    assert finished(cell, number)[1]["stdout"] == b"/usr\nred\n"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"", 1),
        (b"\xc1", 3),
        ({"argv": []}, 4),
        ({"argv": [" "]}, 4),
        ({"argv": ["python3"]}, 5),
        ({"argv": ["/etc/sh"]}, 5),
        ({"argv": ["/tmp/../bin/cat2"]}, 5),
        ({"argv": ["sh"], "dir": "/"}, 6),
        ({"argv": ["sh"], "dir": "/usr/../etc"}, 6),
        ({"argv": ["sh"], "dir": "/usrlocal"}, 6),
    ],
)
def test_what_is_refused(cell, request_, code) -> None:
    assert cell.process_run(request_) == (code, None)


def test_a_file_of_an_allowed_name_elsewhere_is_not_allowed(cell, tmp_path) -> None:
    impostor = tmp_path / "sh"
    impostor.write_text("#!/bin/sh\necho impostor\n")
    impostor.chmod(0o755)
    assert cell.process_run({"argv": [str(impostor)]}) == (5, None)


def test_a_directory_that_is_a_link_out_of_the_root_is_refused(cell, tmp_path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    assert str(tmp_path).startswith("/tmp/")
    assert cell.process_run({"argv": ["sh"], "dir": str(tmp_path / "link")}) == (6, None)


def test_nothing_is_allowed_by_default(window) -> None:
    assert window("spawn.process").process_run({"argv": ["sh"]}) == (5, None)


def test_a_timeout_ends_the_whole_tree(cell, tmp_path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 77 & echo $! >{pids}; echo $$ >>{pids}; wait"
    number, _ = cell.process_run({"argv": ["sh", "-c", script], "timeout_ms": 1500})
    status, result = finished(cell, number)
    assert (status, result["exit_code"]) == (2, -1)
    assert "ended after 1.5 s" in result["error"]
    assert all(gone(pid) for pid in pids.read_text().split())


def test_what_a_program_leaves_behind_is_ended(cell, tmp_path) -> None:
    number, _ = cell.process_run({"argv": ["sh", "-c", f"sleep 77 & echo $! >{tmp_path}/pid"]})
    assert finished(cell, number)[0] == 1
    pid = (tmp_path / "pid").read_text().strip()
    assert gone(pid)


def test_cancel_pending_and_the_limit_of_a_cell(cell) -> None:
    numbers = [cell.process_run({"argv": ["sleep", "77"]})[0] for _ in range(4)]
    assert cell.process_pending() == (4, None)
    assert cell.process_run({"argv": ["sleep", "77"]}) == (16, None)
    helper, _ = cell.process_run({"argv": ["sleep", "77"], "timeout_ms": 0xFFFFFFFF})  # takes no place
    assert helper >= 100
    for number in [*numbers, helper]:
        assert cell.process_cancel(number) == (0, None)
        assert finished(cell, number)[1]["error"] == "cancelled"
    assert cell.process_cancel(numbers[0]) == (1, None)


def test_helpers_of_a_cell_are_bounded_too(window, monkeypatch) -> None:
    monkeypatch.setattr(tasks, "HELPERS", 3)
    cell = window("spawn.process", settings=SETTINGS)
    wanted = {"argv": ["sleep", "77"], "timeout_ms": 0xFFFFFFFF}
    codes = [cell.process_run(wanted)[0] for _ in range(4)]
    assert [code >= 100 for code in codes] == [True] * 3 + [False]
    assert codes[3] == 16


def test_results_that_nobody_reads_are_forgotten_visibly(window, monkeypatch, caplog) -> None:
    monkeypatch.setattr(tasks, "UNREAD_BYTES", 2500)
    cell = window("spawn.process", settings=SETTINGS)
    numbers = []
    for _ in range(3):
        numbers.append(cell.process_run({"argv": ["sh", "-c", "yes | head -c 1000"]})[0])
        deadline = time.monotonic() + 10
        while cell.process_pending()[0] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert cell.process_result(numbers[0]) == (4, None)
    assert [cell.process_result(number)[0] for number in numbers[1:]] == [1, 1]
    assert cell.app.runtime.status()[0]["drops"] == {"spawn.process.results": 1}
    assert "unread result forgotten" in caplog.text


def test_other_cells_see_nothing_of_it(application) -> None:
    tables = [{"wasm": "any.c", "name": name, "capabilities": ["spawn.process"]} for name in ("a", "b")]
    app = application(*tables, settings=SETTINGS)
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    number, _ = a.process_run({"argv": ["sleep", "77"]})
    assert b.process_result(number) == (4, None)
    assert b.process_cancel(number) == (1, None)
    assert b.process_pending() == (0, None)


def test_stopping_the_runtime_ends_everything(cell, tmp_path) -> None:
    cell.process_run({"argv": ["sh", "-c", f"echo $$ >{tmp_path}/pid; sleep 77"]})
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    cell.app.runtime.stop()
    assert gone((tmp_path / "pid").read_text().strip())


def test_endless_output_is_cut_not_kept(window) -> None:
    cell = window("spawn.process", settings={**SETTINGS, "PROCESS_MAX_OUTPUT_BYTES": "1000"})
    number, _ = cell.process_run({"argv": ["sh", "-c", "yes | head -c 5000000"]})
    assert len(finished(cell, number)[1]["stdout"]) == 1000


def test_undeclared_each_has_its_own_answer(window) -> None:
    cell = window(settings=SETTINGS)
    assert cell.process_run({"argv": ["sh"]})[0] == 99
    assert cell.process_result(100)[0] == 4
    assert cell.process_cancel(100)[0] == 1
    assert cell.process_pending()[0] == 0


# --- terminals ---------------------------------------------------------------------------------------


def shown(cell, until: bytes) -> bytes:
    """Return what a terminal showed up to some text."""
    seen, deadline = b"", time.monotonic() + 10
    while until not in seen and time.monotonic() < deadline:
        seen += b"".join(event["data"] for event in cell.events("pty.output"))
    return seen


@pytest.fixture
def terminal(window):
    return window("spawn.pty", settings={**SETTINGS, "SHELL": "/bin/sh"})


def test_a_shell_talks_both_ways_in_a_real_terminal(terminal) -> None:
    code, reply = terminal.pty_open({"shell": "sh"})
    assert code == 0
    number = reply["pty_id"]
    assert terminal.pty_write(number, b"tty; stty size; echo ready-$((6*7))\n") == (0, None)
    text = shown(terminal, b"ready-42")
    assert b"/dev/pts/" in text
    assert b"24 80" in text
    assert terminal.pty_resize(number, 132, 50) == (0, None)
    assert terminal.pty_resize(number, 70_000, 50) == (4, None)
    terminal.pty_write(number, b"stty size; echo done-$((2*2))\n")
    assert b"50 132" in shown(terminal, b"done-4")
    assert terminal.pty_alive(number) == (1, None)


def test_the_end_of_the_shell_is_seen_and_nothing_stays(terminal) -> None:
    number = terminal.pty_open({"shell": "sh", "args": ["-c", "exit 0"]})[1]["pty_id"]
    deadline = time.monotonic() + 5
    while terminal.pty_alive(number)[0] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert terminal.pty_alive(number) == (0, None)
    extension = next(each for each in terminal.app.catalogue.gated if each.name == "spawn.pty")
    terminal.app.runtime.stop()
    assert extension._sessions == {}


def test_closing_ends_the_shell_and_all_it_started(terminal, tmp_path) -> None:
    number = terminal.pty_open({"shell": "sh"})[1]["pty_id"]
    terminal.pty_write(number, f"sleep 77 & echo $! >{tmp_path}/pid\n".encode())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    assert terminal.pty_close(number) == (0, None)
    assert terminal.pty_alive(number) == (0, None)
    assert terminal.pty_write(number, b"x") == (6, None)
    assert gone((tmp_path / "pid").read_text().strip())


def test_a_program_that_does_not_read_holds_nobody_up(window, monkeypatch) -> None:
    monkeypatch.setattr(pty, "WRITE_SECONDS", 0.2)
    terminal = window("spawn.pty", settings=SETTINGS)
    number = terminal.pty_open({"shell": "sleep", "args": ["77"]})[1]["pty_id"]
    assert terminal.pty_write(number, b"x\n" * 500_000) == (4, None)
    assert terminal.pty_close(number) == (0, None)


def test_a_cell_that_types_without_end_can_be_interrupted(window) -> None:
    terminal = window("spawn.pty", settings=SETTINGS, call_timeout_ms=300, restart="never")
    number = terminal.pty_open({"shell": "sleep", "args": ["77"]})[1]["pty_id"]
    with pytest.raises(DeadlineExceeded):
        terminal.pty_write(number, b"x\n" * 500_000)


def test_terminals_are_bounded_and_those_that_ended_make_room(terminal, monkeypatch) -> None:
    monkeypatch.setattr(pty, "MOST", 3)
    numbers = [terminal.pty_open({"shell": "cat"})[1]["pty_id"] for _ in range(3)]
    assert terminal.pty_open({"shell": "cat"}) == (4, None)
    terminal.pty_write(numbers[0], b"\x04")  # the end of its input
    deadline = time.monotonic() + 10
    while terminal.pty_alive(numbers[0])[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert terminal.pty_open({"shell": "cat"})[0] == 0
    assert terminal.pty_open({"shell": "cat"}) == (4, None)


@pytest.mark.parametrize("request_", [{"shell": "python3"}, {"shell": "sh", "dir": "/etc"}])
def test_a_terminal_obeys_the_same_lists(terminal, request_) -> None:
    assert terminal.pty_open(request_) == (11, None)


def test_terminals_that_are_not_there_or_anothers(application) -> None:
    tables = [{"wasm": "any.c", "name": name, "capabilities": ["spawn.pty"]} for name in ("a", "b")]
    app = application(*tables, settings=SETTINGS)
    a, b = (Window(app.runtime.cell(name)) for name in ("a", "b"))
    number = a.pty_open({"shell": "sh"})[1]["pty_id"]
    for missing in (number, 7777):
        assert b.pty_write(missing, b"x") == (6, None)
        assert b.pty_resize(missing, 80, 24) == (6, None)
        assert b.pty_close(missing) == (6, None)
        assert b.pty_alive(missing) == (0, None)
    assert a.pty_alive(number) == (1, None)
