"""Terminal, process id and parallelism: cases 1 to 4."""

from __future__ import annotations

import os
import pty
import struct
import termios
import threading

import pytest
from tests.wasix.driver import Driver

from guesthouse.wasix import BaseRuntime, PluggableRuntime, TerminalTty, ThreadedRuntime, TtyState

DEFAULT = struct.pack("<4I5B3x", 80, 25, 800, 600, 0, 0, 0, 1, 1)
TTY = ["tty_get ie", "tty_set ie"]


def test_case_01_default_terminal_is_fixed(host):
    with Driver(host, TTY) as guest:
        guest.write(0, b"\xff" * 24)
        assert guest.tty_get(0) == 0
        assert guest.read(0, 24) == DEFAULT
        guest.write(0, struct.pack("<4I5B3x", 132, 50, 1, 2, 1, 1, 1, 0, 0))
        assert guest.tty_set(0) == 0
        assert guest.tty_get(64) == 0
        assert guest.read(64, 24) == DEFAULT


def test_case_01_default_terminal_without_the_grant(host):
    with Driver(host, TTY, grant=()) as guest:
        assert guest.tty_get(0) == 0
        assert guest.read(0, 24) == DEFAULT


class Remembering(PluggableRuntime):
    def __init__(self):
        super().__init__()
        self.state = TtyState()
        self.seen = []

    def tty_get(self):
        return self.state

    def tty_set(self, state):
        self.seen.append(state)
        self.state = state


def test_case_02_custom_terminal_is_shared(host):
    runtime = Remembering()
    with Driver(host, TTY, runtime=runtime) as one:
        one.write(0, struct.pack("<4I5B3x", 132, 50, 800, 600, 0, 0, 0, 0, 0))
        assert one.tty_set(0) == 0
        [seen] = runtime.seen
        assert (seen.cols, seen.rows, seen.echo, seen.line_buffered) == (132, 50, False, False)
        found = []

        def other():
            instance = one.guest.open(None)
            instance.start()
            instance.invoke("tty_get", 0)
            found.append(instance.read(0, 24))
            one.guest.dismiss(instance, None)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert one.tty_get(64) == 0
        assert found == [one.read(64, 24)] == [struct.pack("<4I5B3x", 132, 50, 800, 600, 0, 0, 0, 0, 0)]


def test_a_bool_that_is_none_is_refused(host):
    with Driver(host, TTY) as guest:
        guest.write(0, struct.pack("<4I5B3x", 80, 25, 1, 1, 0, 0, 2, 0, 0))
        assert guest.tty_set(0) == 28
        assert guest.tty_set(2**32 - 8) == 21
        assert guest.tty_get(2**32 - 8) == 21


class WithPid(PluggableRuntime):
    def getpid(self):
        return 4242


def test_case_03_process_ids(host):
    with Driver(host, ["getpid ie", "proc_id ie"]) as guest:
        guest.write(0, b"\xaa" * 4)
        assert guest.getpid(0) == 58
        assert guest.read(0, 4) == b"\xaa" * 4
        assert (guest.proc_id(0), guest.u32(0)) == (0, 1)
    with Driver(host, ["getpid ie", "proc_id ie"], runtime=WithPid()) as guest:
        assert (guest.getpid(0), guest.u32(0)) == (0, 4242)
        assert (guest.proc_id(4), guest.u32(4)) == (0, 4242)


def test_case_04_parallelism(host):
    with Driver(host, ["thread_parallelism ie"], runtime=PluggableRuntime()) as guest:
        assert guest.thread_parallelism(0) == 58
    with Driver(host, ["thread_parallelism ie"], runtime=ThreadedRuntime(parallelism=6)) as guest:
        assert (guest.thread_parallelism(0), guest.u32(0)) == (0, 6)


class Failing(PluggableRuntime):
    def tty_get(self):
        raise LookupError("the embedder's own trouble")


def test_what_a_member_raises_reaches_the_embedder_unchanged(host):
    with Driver(host, TTY, runtime=Failing()) as guest, pytest.raises(LookupError, match="own trouble"):
        guest.tty_get(0)


def test_the_six_defaults():
    runtime = BaseRuntime()
    assert runtime.tty_get() == TtyState()
    assert runtime.tty_set(TtyState(cols=1)) is None
    assert runtime.getpid() is None
    assert runtime.yield_now(3) is None


def test_a_real_terminal_is_put_back():
    leader, follower = pty.openpty()
    try:
        termios.tcsetwinsize(follower, (50, 132))
        before = termios.tcgetattr(follower)
        terminal = TerminalTty((follower, follower, follower))
        state = terminal.tty_get()
        assert (state.cols, state.rows, state.stdin_tty, state.echo) == (132, 50, True, True)
        with terminal.kept():
            terminal.tty_set(TtyState(echo=False, line_buffered=False))
            raw = terminal.tty_get()
            assert (raw.echo, raw.line_buffered) == (False, False)
        assert termios.tcgetattr(follower) == before
    finally:
        os.close(leader)
        os.close(follower)
