"""spawn.process and spawn.pty (spec/pulp.md 3.11): what may run, how it ends, that nothing stays behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

SETTINGS = {"PROCESS_ALLOW_BINS": "sh,cat,sleep,/bin/echo", "PROCESS_RUN_ROOTS": "/usr:/tmp"}


@pytest.fixture
def processes(forwarders):
    return forwarders(
        "spawn.process", settings=SETTINGS,
        process_run="q", process_result="wo", process_cancel="w", process_pending="",
    )  # fmt: skip


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


class Ledger:
    """Runs programs for one cell and reads what became of them at the extension itself.

    The cell that forwards to `process_result` is another one, and cells do not see each other's tasks.
    """

    def __init__(self, forwarder) -> None:
        self.run = forwarder
        self.cell = forwarder.application.runtime.cell(forwarder.cell).id
        extensions = forwarder.application.catalogue.gated
        self.pool = next(e for e in extensions if e.name == "spawn.process")._pool

    def result(self, number: int):
        from guesthouse.interfaces.pulp.extensions.process import RunResult

        deadline = time.monotonic() + 20
        while True:
            status, data = self.pool.result(self.cell, number)
            if status or time.monotonic() > deadline:
                return int(status), RunResult.decode(data) if data else None
            time.sleep(0.01)


@pytest.fixture
def ledger(processes) -> Ledger:
    return Ledger(processes[0])


def test_a_program_runs_and_its_result_is_read_once(ledger) -> None:
    number, _ = ledger.run({"argv": ["sh", "-c", "echo out; echo err >&2; exit 3"]})
    assert number >= 100
    status, result = ledger.result(number)
    assert (status, result.exit_code, result.stdout, result.stderr, result.error) == (
        1,
        3,
        b"out\n",
        b"err\n",
        "",
    )
    assert ledger.result(number) == (4, None)


def test_arguments_are_no_shell(ledger) -> None:
    number, _ = ledger.run({"argv": ["/bin/echo", "$HOME;", "`id`", "a b"]})
    assert ledger.result(number)[1].stdout == b"$HOME; `id` a b\n"


def test_directory_and_environment(ledger, tmp_path) -> None:
    number, _ = ledger.run(
        {"argv": ["sh", "-c", "pwd; echo $COLOUR"], "dir": "/usr", "env": {"COLOUR": "red"}}
    )
    assert ledger.result(number)[1].stdout == b"/usr\nred\n"


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
def test_what_is_refused(ledger, request_, code) -> None:
    assert ledger.run(request_) == (code, None)


def test_a_file_of_an_allowed_name_elsewhere_is_not_allowed(ledger, tmp_path) -> None:
    impostor = tmp_path / "sh"
    impostor.write_text("#!/bin/sh\necho impostor\n")
    impostor.chmod(0o755)
    assert ledger.run({"argv": [str(impostor)]}) == (5, None)


def test_a_directory_that_is_a_link_out_of_the_root_is_refused(ledger, tmp_path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    assert str(tmp_path).startswith("/tmp/")
    assert ledger.run({"argv": ["sh"], "dir": str(tmp_path / "link")}) == (6, None)


def test_nothing_is_allowed_by_default(forwarders) -> None:
    (run,) = forwarders("spawn.process", process_run="q")
    assert run({"argv": ["sh"]}) == (5, None)


def test_a_timeout_ends_the_whole_tree(ledger, tmp_path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 77 & echo $! >{pids}; echo $$ >>{pids}; wait"
    number, _ = ledger.run({"argv": ["sh", "-c", script], "timeout_ms": 300})
    status, result = ledger.result(number)
    assert (status, result.exit_code) == (2, -1)
    assert "ended after 0.3 s" in result.error
    assert all(gone(pid) for pid in pids.read_text().split())


def test_what_a_program_leaves_behind_is_ended(ledger, tmp_path) -> None:
    number, _ = ledger.run({"argv": ["sh", "-c", f"sleep 77 & echo $! >{tmp_path}/pid"]})
    assert ledger.result(number)[0] == 1
    pid = (tmp_path / "pid").read_text().strip()
    assert gone(pid)


def test_cancel_pending_and_the_limit_of_a_cell(ledger) -> None:
    numbers = [ledger.run({"argv": ["sleep", "77"]})[0] for _ in range(4)]
    assert ledger.pool.pending(ledger.cell) == 4
    assert ledger.run({"argv": ["sleep", "77"]}) == (16, None)
    helper, _ = ledger.run({"argv": ["sleep", "77"], "timeout_ms": 0xFFFFFFFF})  # takes no place
    assert helper >= 100
    for number in [*numbers, helper]:
        assert ledger.pool.cancel(ledger.cell, number)
        assert ledger.result(number)[1].error == "cancelled"
    assert not ledger.pool.cancel(ledger.cell, numbers[0])


def test_other_cells_see_nothing_of_it(processes, ledger) -> None:
    number, _ = ledger.run({"argv": ["sleep", "77"]})
    _, result, cancel, pending = processes
    assert result(None, number) == (4, None)
    assert cancel(None, number) == (1, None)
    assert pending() == (0, None)


def test_stopping_the_runtime_ends_everything(ledger, tmp_path) -> None:
    ledger.run({"argv": ["sh", "-c", f"echo $$ >{tmp_path}/pid; sleep 77"]})
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    ledger.run.application.runtime.stop()
    assert gone((tmp_path / "pid").read_text().strip())


def test_endless_output_is_cut_not_kept(forwarders) -> None:
    settings = {**SETTINGS, "PROCESS_MAX_OUTPUT_BYTES": "1000"}
    ledger = Ledger(forwarders("spawn.process", settings=settings, process_run="q")[0])
    number, _ = ledger.run({"argv": ["sh", "-c", "yes | head -c 5000000"]})
    assert len(ledger.result(number)[1].stdout) == 1000


def test_undeclared_each_has_its_own_answer(forwarders) -> None:
    run, result, cancel, pending = forwarders(
        "spawn.process", granted=False, settings=SETTINGS,
        process_run="q", process_result="wo", process_cancel="w", process_pending="",
    )  # fmt: skip
    assert [run({"argv": ["sh"]})[0], result(None, 100)[0], cancel(None, 100)[0], pending()[0]] == [
        99,
        4,
        1,
        0,
    ]


# --- terminals ---------------------------------------------------------------------------------------


class Terminal:
    """The five imports of one cell, at the extension itself."""

    def __init__(self, forwarder) -> None:
        self.open = forwarder
        self.pty = next(e for e in forwarder.application.catalogue.gated if e.name == "spawn.pty")

    def session(self, number: int):
        return self.pty._sessions[number]

    def output(self, until: bytes) -> bytes:
        seen, deadline = b"", time.monotonic() + 10
        while until not in seen and time.monotonic() < deadline:
            for event in self.open.events():
                assert event["kind"] == "pty.output"
                seen += event["payload"]["data"]
            time.sleep(0.02)
        return seen


@pytest.fixture
def terminal(forwarders) -> Terminal:
    return Terminal(forwarders("spawn.pty", settings={**SETTINGS, "SHELL": "/bin/sh"}, pty_open="qo")[0])


def test_a_shell_talks_both_ways_in_a_real_terminal(terminal) -> None:
    code, reply = terminal.open({"shell": "sh"})
    assert code == 0
    session = terminal.session(reply["pty_id"])
    session.write(b"tty; stty size; echo ready-$((6*7))\n")
    text = terminal.output(b"ready-42")
    assert b"/dev/pts/" in text
    assert b"24 80" in text
    session.resize(132, 50)
    session.write(b"stty size; echo done-$((2*2))\n")
    assert b"50 132" in terminal.output(b"done-4")
    assert session.alive


def test_the_end_of_the_shell_is_seen_and_nothing_stays(terminal) -> None:
    _, reply = terminal.open({"shell": "sh", "args": ["-c", "exit 0"]})
    session = terminal.session(reply["pty_id"])
    deadline = time.monotonic() + 5
    while session.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not session.alive
    terminal.open.application.runtime.stop()
    assert terminal.pty._sessions == {}


def test_closing_ends_the_shell_and_all_it_started(terminal, tmp_path) -> None:
    _, reply = terminal.open({"shell": "sh"})
    session = terminal.session(reply["pty_id"])
    session.write(f"sleep 77 & echo $! >{tmp_path}/pid\n".encode())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    terminal.pty._drop(session)
    assert not session.alive
    assert gone((tmp_path / "pid").read_text().strip())


@pytest.mark.parametrize("request_", [{"shell": "python3"}, {"shell": "sh", "dir": "/etc"}])
def test_a_terminal_obeys_the_same_lists(terminal, request_) -> None:
    assert terminal.open(request_) == (11, None)


def test_terminals_that_are_not_there(forwarders) -> None:
    write, resize, close, alive = forwarders(
        "spawn.pty", settings=SETTINGS, pty_write="wq", pty_resize="www", pty_close="w", pty_alive="w"
    )
    assert write(b"x", 7) == (6, None)
    assert resize(None, 7, 80, 24) == (6, None)
    assert close(None, 7) == (6, None)
    assert alive(None, 7) == (0, None)
