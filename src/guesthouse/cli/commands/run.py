"""``guesthouse run``: load one module, run it once, leave with its exit code."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from guesthouse.cli import exits, options, output
from guesthouse.guest import Guest
from guesthouse.host import Host
from guesthouse.reading import read_whole

#: Threads that a program may have that was given `--threads`.
MOST_THREADS = 256

_Value = TypeVar("_Value")

#: Interfaces whose guests are commands: arguments, standard streams and an exit code.
COMMANDS = frozenset({"wasi", "wasix"})
#: Interfaces whose guests take those beside an input, and put something out beside what they print.
FUNCTIONS = frozenset({"faasm"})


def command(
    module: Path,
    /,
    *arguments: str,
    grant: options.Grants = (),
    dir: Annotated[Sequence[str], options.repeatable("Let the guest use HOST:GUEST[:ro]")] = (),
    env: Annotated[Sequence[str], options.repeatable("Set NAME=VALUE in the guest's environment")] = (),
    input: options.Input = None,
    stdin: Annotated[Path | None, Parameter(help="File that a program reads as its standard input.")] = None,
    net: Annotated[
        Sequence[str], options.repeatable("Let the guest reach FAMILY:allow=HOST:PORT[/in|/out]")
    ] = (),
    threads: Annotated[bool, options.flag("Let the guest start threads.")] = False,
    tty: Annotated[bool, options.flag("Let the guest see and change the terminal.")] = False,
    bus: Annotated[bool, options.flag("Let the guest use the message bus and start processes.")] = False,
    entry: Annotated[str | None, Parameter(help="Export to call instead of the interface's own.")] = None,
    interface: Annotated[
        str | None, Parameter(help="Interface to run it as, where that cannot be told.")
    ] = None,
    wall: options.Wall = None,
    memory: options.Memory = None,
    fuel: options.Fuel = None,
    disk: options.Disk = None,
    lenient: Annotated[bool, options.flag("Stub functions that nobody knows.")] = False,
    receipt: options.Receipt = False,
) -> int:
    """Run a module once.

    The exit code is the guest's own; 124 when the deadline passed, 125 when the host refused the module, 134
    when it trapped.

    Args:
        module: The .wasm or .wat file.
        arguments: The guest's arguments; put -- before them.
    """
    bounds = options.limits(wall, memory, fuel, disk)
    directories, environment = options.directories(dir), options.environment(env)
    given = options.read_input(input)
    if stdin is not None:
        if given is not None:
            raise ValueError("--input and --stdin both name the input; give one of them")
        given = read_whole(stdin)
    granted = [*grant]
    for wanted, names in (
        (directories, ["wasi.files"]),
        (net, ["wasix.sockets"]),
        (threads, ["wasix.threads"]),
        (tty, ["wasix.tty"]),
        (bus, ["wasix.bus", "wasix.process"]),
    ):
        granted += names if wanted else ()
    if threads:
        bounds = bounds.replace(threads=max(bounds.threads, MOST_THREADS))
    options_given: dict[str, Any] = {**({"net": tuple(net)} if net else {}), **({"tty": True} if tty else {})}
    with Host(limits=bounds) as host:
        with output.compiling(module.name) as progress:
            guest = interruptible(
                lambda: host.load(
                    module,
                    grant=granted,
                    interface=interface,
                    lenient=lenient,
                    progress=progress,
                    **options_given,
                ),
                host,
            )
        if guest.interface in COMMANDS:
            return interruptible(
                lambda: _run_command(guest, arguments, given, environment, directories, entry, receipt), host
            )
        if guest.interface in FUNCTIONS:
            return interruptible(
                lambda: _run_function(guest, arguments, given, environment, directories, entry, receipt), host
            )
        return interruptible(lambda: _call_function(guest, given or b"", entry, receipt), host)


def _run_command(
    guest: Guest, arguments: Sequence[str], given: bytes | None, environment: dict[str, str],
    directories: dict[str, str], entry: str | None, receipt: bool,
) -> int:  # fmt: skip
    sys.stdout.flush()
    ended = guest.run(
        arguments, stdin=0 if given is None else given, env=environment, dirs=directories, entry=entry,
        stdout=1, stderr=2,
    )  # fmt: skip
    # What it printed is out already; this is what an export returned that is no program.
    sys.stdout.buffer.write(ended.stdout)
    sys.stdout.buffer.flush()
    _show_receipt(receipt, ended.receipt)
    return exits.guest_code(ended.code)


def _run_function(
    guest: Guest, arguments: Sequence[str], given: bytes | None, environment: dict[str, str],
    directories: dict[str, str], entry: str | None, receipt: bool,
) -> int:  # fmt: skip
    # What it prints goes where it does not mix with its output.
    ended = guest.run(
        arguments, stdin=given or b"", env=environment, dirs=directories, entry=entry, stdout=2, stderr=2
    )
    _show_receipt(receipt, ended.receipt)
    sys.stdout.buffer.write(ended.stdout)
    sys.stdout.buffer.flush()
    if ended.code:
        output.complain(f"guest {guest.name!r} returned {ended.code}")
    return exits.guest_code(ended.code)


def _call_function(guest: Guest, given: bytes, entry: str | None, receipt: bool) -> int:
    result = guest.invoke(given, entry=entry)
    _show_receipt(receipt, result.receipt)
    if result.error is not None:
        raise result.error
    sys.stdout.buffer.write(result.output)
    sys.stdout.buffer.flush()
    if result.code:
        output.complain(f"guest {guest.name!r} returned {result.code}")
    return exits.guest_code(result.code)


def _show_receipt(wanted: bool, receipt: Any) -> None:
    if wanted and receipt is not None:
        sys.stderr.write(json.dumps(receipt.as_dict(), default=str) + "\n")


def interruptible(work: Callable[[], _Value], host: Host) -> _Value:
    """Run work beside the main thread, so that ctrl-C ends it at once: signals reach only the main thread.

    Raises:
        KeyboardInterrupt: it was interrupted; the host is closed and its calls are cancelled.
        BaseException: what the work raised.
    """
    done: list[_Value] = []
    failed: list[BaseException] = []

    def worker() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failed.append(error)

    thread = threading.Thread(target=worker, name="guesthouse-run", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        host.close()
        thread.join(2.0)
        raise
    if failed:
        raise failed[0]
    return done[0]
