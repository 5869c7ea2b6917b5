"""The table of WASIX: all three generations under one module name, told apart by type (spec wasix 3.6).

Types are written as the specification writes them: one letter per parameter, then the result: ``e`` an errno,
``b`` a bus error, ``i`` a number, ``-`` nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from guesthouse.engine import Constant, HostFunction, Native, Trapping
from guesthouse.interfaces.wasi.imports import FUNCTIONS as PREVIEW1_FUNCTIONS
from guesthouse.interfaces.wasi.imports import row as preview1_row
from guesthouse.interfaces.wasix import (
    buscalls,
    descriptors,
    epolls,
    options,
    ports,
    processes,
    sockets,
    terminal,
    threads,
    transfer,
    waiting,
)
from guesthouse.interfaces.wasix.generations import MODULE
from guesthouse.interfaces.wasix.program import Body, answers, bus_answers, gives_nothing, thread_of

THREADS, SOCKETS, BUS, TTY, PROCESS = (
    "wasix.threads",
    "wasix.sockets",
    "wasix.bus",
    "wasix.tty",
    "wasix.process",
)
NOSYS = 52

ADDRESSES: dict[str, int] = {**descriptors.FUNCTIONS, **transfer.FUNCTIONS, **waiting.FUNCTIONS}


def _row(
    capability: str, name: str, kind: str, body: Body, denied: Any = None, *, module: str = MODULE
) -> HostFunction:
    """Return the row of a function in Python; its summary is the body's own."""
    result = kind[-1]
    answer = gives_nothing(body) if result == "-" else bus_answers(body) if result == "b" else answers(body)
    summary = (body.__doc__ or "").partition("\n")[0]
    return HostFunction(
        capability, module, name, kind[:-1], "" if result == "-" else "i", answer, summary, denied
    )


def _native(name: str, kind: str, summary: str, capability: str = "") -> HostFunction:
    return HostFunction(capability, MODULE, name, kind[:-1], "i", Native(ADDRESSES[name]), summary)


def _later(name: str, kind: str) -> HostFunction:
    """Return the row of a function that is known and not served."""
    text = f"{name} needs an instrumented guest, or is not served here."
    answer = Constant(NOSYS) if kind[-1] != "-" else Trapping(f"{MODULE}.{name} is not served by this host")
    return HostFunction("", MODULE, name, kind[:-1], "" if kind[-1] == "-" else "i", answer, text)


_TERMINAL = (
    _row(TTY, "tty_get", "ie", terminal.tty_get, answers(terminal.tty_get_default)),
    _row(TTY, "tty_set", "ie", terminal.tty_set, answers(terminal.tty_set_default)),
    _row("", "getpid", "ie", terminal.getpid),
    _row("", "proc_id", "ie", terminal.proc_id),
)

_FILES = (
    _row("", "getcwd", "iie", processes.getcwd),
    _row("", "chdir", "iie", processes.chdir),
    _native("fd_dup", "iie", "Give a descriptor one more number."),
    _native("fd_dup2", "iiiie", "Give a descriptor one more number, not below another."),
    _native("fd_event", "Iiie", "Open a counter of events."),
    _native("fd_pipe", "iie", "Open a pipe."),
    HostFunction("", MODULE, "pipe", "ii", "i", Native(ADDRESSES["fd_pipe"]), "Open a pipe (June 2022)."),
    _native("fd_fdflags_get", "iie", "Write the extended flags of a descriptor."),
    _native("fd_fdflags_set", "iie", "Set the extended flags of a descriptor."),
    _native("path_open2", "iiiiiIIiiie", "Open or create a file or directory, with extended flags."),
    _row("", "clock_time_set", "iIe", processes.clock_time_set),
    _row("", "epoll_create", "ie", epolls.epoll_create),
    _row("", "epoll_ctl", "iiiie", epolls.epoll_ctl),
    _row("", "epoll_wait", "iiiIie", epolls.epoll_wait),
)

_THREADS = (
    _row(THREADS, "thread_spawn", "iiIiie", threads.thread_spawn_a),
    _row(THREADS, "thread_spawn", "IIIiie", threads.thread_spawn_b),
    _row(THREADS, "thread_spawn", "iie", threads.thread_spawn_c),
    _row(THREADS, "thread_spawn_v2", "iie", threads.thread_spawn_c),
    HostFunction(
        THREADS,
        "wasi",
        "thread-spawn",
        "i",
        "i",
        lambda call, start: threads.thread_spawn_d(thread_of(call), start),
        "Start a thread the way of wasi-threads; the id, or a negative errno.",
    ),
    _native("thread_sleep", "Ie", "Sleep for a number of nanoseconds; 0 yields."),
    _native("thread_id", "ie", "Write the id of the calling thread."),
    _row("", "thread_join", "ie", threads.thread_join),
    _row("", "thread_parallelism", "ie", threads.thread_parallelism),
    _row("", "thread_exit", "i-", threads.thread_exit),
    _row("", "thread_signal", "iie", threads.thread_signal),
    _native("futex_wait", "iiiie", "Wait while a word of memory has a value."),
    _native("futex_wake", "iie", "Wake one thread that waits on a word of memory."),
    _native("futex_wake_all", "iie", "Wake all threads that wait on a word of memory."),
    _row("", "callback_signal", "ii-", threads.callback_signal),
    _row("", "callback_thread", "ii-", threads.callback_thread),
    _row("", "callback_reactor", "ii-", threads.callback_reactor),
    _row("", "callback_thread_local_destroy", "ii-", threads.callback_thread_local_destroy),
    _row("", "thread_local_create", "Iie", threads.thread_local_create),
    _row("", "thread_local_destroy", "ie", threads.thread_local_destroy),
    _row("", "thread_local_set", "iIe", threads.thread_local_set),
    _row("", "thread_local_get", "iie", threads.thread_local_get),
)

_PROCESSES = (
    _row("", "proc_exit2", "i-", processes.proc_exit2),
    _row("", "proc_signals_sizes_get", "ie", processes.proc_signals_sizes_get),
    _row("", "proc_signals_get", "ie", processes.proc_signals_get),
    _row("", "proc_parent", "iie", processes.proc_parent),
    _row("", "proc_raise_interval", "iIie", threads.proc_raise_interval),
    _row(PROCESS, "proc_join", "iiie", processes.proc_join),
    _row(PROCESS, "proc_signal", "iie", processes.proc_signal),
    _row(PROCESS, "proc_exec", "iiii-", processes.proc_exec_or_end),
    _row(PROCESS, "proc_exec2", "iiiiii-", processes.proc_exec_or_end),
    _row(PROCESS, "proc_exec3", "iiiiiiiiie", processes.proc_exec),
    _row(PROCESS, "proc_spawn", "i" * 13 + "e", processes.proc_spawn),
    _row(BUS, "process_spawn", "i" * 13 + "b", buscalls.process_spawn),
    HostFunction(
        PROCESS, MODULE, "proc_spawn2", "i" * 14, "i", Constant(NOSYS), "Not served: no fork and exec."
    ),
)

_BUS = (
    _row(BUS, "bus_open_local", "iiiib", buscalls.bus_open_local),
    _row(BUS, "bus_open_remote", "iiiiiiiib", buscalls.bus_open_remote),
    _row(BUS, "bus_close", "ib", buscalls.bus_close),
    _row(BUS, "bus_call", "iiiiiiiib", buscalls.bus_call_g1),
    _row(BUS, "bus_call", "iiiiiib", buscalls.bus_call_g2),
    _row(BUS, "bus_subcall", "iiiiiiiib", buscalls.bus_subcall_g1),
    _row(BUS, "bus_subcall", "Iiiiiib", buscalls.bus_subcall_g2),
    _row(BUS, "bus_poll", "Iiiiiib", buscalls.bus_poll_g1),
    _row(BUS, "bus_poll", "Iiiib", buscalls.bus_poll_g2),
    _row(BUS, "call_reply", "iiiib", buscalls.call_reply),
    _row(BUS, "call_reply", "Iiiib", buscalls.call_reply),
    _row(BUS, "call_fault", "ii-", buscalls.call_fault),
    _row(BUS, "call_fault", "iib", buscalls.call_fault),
    _row(BUS, "call_fault", "Ii-", buscalls.call_fault),
    _row(BUS, "call_close", "i-", buscalls.call_close),
    _row(BUS, "call_close", "ib", buscalls.call_close),
    _row(BUS, "call_close", "I-", buscalls.call_close),
)

_PORTS = (
    _row(SOCKETS, "ws_connect", "iiie", ports.ws_connect),
    _row(SOCKETS, "http_request", "iiiiiiiie", ports.http_request),
    _row(SOCKETS, "http_status", "iie", ports.http_status),
    _row(SOCKETS, "http_status", "ii-", ports.http_status),
    _row(SOCKETS, "port_bridge", "iiiiie", ports.port_bridge),
    _row(SOCKETS, "port_unbridge", "e", ports.port_unbridge),
    _row(SOCKETS, "port_dhcp_acquire", "e", ports.port_dhcp_acquire),
    _row(SOCKETS, "port_addr_add", "ie", ports.port_addr_add),
    _row(SOCKETS, "port_addr_remove", "ie", ports.port_addr_remove),
    _row(SOCKETS, "port_addr_clear", "e", ports.port_addr_clear),
    _row(SOCKETS, "port_mac", "ie", ports.port_mac),
    _row(SOCKETS, "port_addr_list", "iie", ports.port_addr_list),
    _row(SOCKETS, "port_gateway_set", "ie", ports.port_gateway_set),
    _row(SOCKETS, "port_route_add", "iiiie", ports.port_route_add),
    _row(SOCKETS, "port_route_remove", "ie", ports.port_route_remove),
    _row(SOCKETS, "port_route_clear", "e", ports.port_route_clear),
    _row(SOCKETS, "port_route_list", "iie", ports.port_route_list),
    _row(SOCKETS, "resolve", "iiiiiie", sockets.resolve),
)

_SOCKETS = (
    _row(SOCKETS, "sock_status", "iie", sockets.sock_status),
    _row(SOCKETS, "sock_addr_local", "iie", sockets.sock_addr_local),
    _row(SOCKETS, "sock_addr_peer", "iie", sockets.sock_addr_peer),
    _row(SOCKETS, "sock_open", "iiiie", sockets.sock_open),
    _row(SOCKETS, "sock_set_opt_flag", "iiie", options.sock_set_opt_flag),
    _row(SOCKETS, "sock_get_opt_flag", "iiie", options.sock_get_opt_flag),
    _row(SOCKETS, "sock_set_opt_time", "iiie", options.sock_set_opt_time),
    _row(SOCKETS, "sock_get_opt_time", "iiie", options.sock_get_opt_time),
    _row(SOCKETS, "sock_set_opt_size", "iiIe", options.sock_set_opt_size),
    _row(SOCKETS, "sock_get_opt_size", "iiie", options.sock_get_opt_size),
    _row(SOCKETS, "sock_join_multicast_v4", "iiie", options.sock_join_multicast_v4),
    _row(SOCKETS, "sock_leave_multicast_v4", "iiie", options.sock_leave_multicast_v4),
    _row(SOCKETS, "sock_join_multicast_v6", "iiie", options.sock_join_multicast_v6),
    _row(SOCKETS, "sock_leave_multicast_v6", "iiie", options.sock_leave_multicast_v6),
    _row(SOCKETS, "sock_bind", "iie", sockets.sock_bind),
    _row(SOCKETS, "sock_listen", "iie", sockets.sock_listen),
    _row(SOCKETS, "sock_accept", "iiiie", sockets.sock_accept),
    _row(SOCKETS, "sock_accept", "iiie", sockets.sock_accept_plain),
    _row(SOCKETS, "sock_accept_v2", "iiiie", sockets.sock_accept),
    _row(SOCKETS, "sock_connect", "iie", sockets.sock_connect),
    _row(SOCKETS, "sock_recv_from", "iiiiiiie", sockets.sock_recv_from),
    _row(SOCKETS, "sock_send_to", "iiiiiie", sockets.sock_send_to),
    _native("sock_send_file", "iiIIie", "Send part of a file through a socket.", SOCKETS),
    _native("sock_pair", "iiiiie", "Open two sockets that are connected to one another."),
)

_LATER = tuple(
    _later(*line.split())
    for line in """
    proc_fork iie
    proc_fork_env ie
    proc_snapshot e
    stack_checkpoint iie
    stack_restore iI-
    dl_invalid_handle ie
    dlopen iiiiiiiie
    dlsym iiiiiie
    call_dynamic iiiiiie
    closure_prepare iiiiiiie
    closure_allocate ie
    closure_free ie
    reflect_signature iiiiiie
    context_create iie
    context_switch Ie
    context_destroy Ie
    """.strip().splitlines()
)

#: All of preview 1 under WASIX's own module name, as G1 and G2 import it, but for what WASIX changes.
_PREVIEW1 = tuple(
    dataclasses.replace(preview1_row(MODULE, *entry), capability="", denied=None)
    for entry in PREVIEW1_FUNCTIONS
    if entry[0] not in ("sock_accept", "proc_raise")
)

IMPORTS: tuple[HostFunction, ...] = (
    *_TERMINAL,
    *_FILES,
    *_THREADS,
    *_PROCESSES,
    *_BUS,
    *_PORTS,
    *_SOCKETS,
    *_LATER,
    *_PREVIEW1,
    _row("", "proc_raise", "ie", threads.proc_raise),
)
