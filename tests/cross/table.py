"""The table of docs/calls.md, and a village of guests that call one another as it says."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import time

import httpx
from tests.cross.conftest import ENTRY, load

import guesthouse
from guesthouse import errors
from guesthouse.server import Gateway
from guesthouse.testing import guests

#: Who calls, by what the table's columns are called.
COLUMNS = {
    "Faasm": "faasm", "Ark": "ark", "Pulp": "pulp", "Fabric": "grafos", "WASIX bus": "wasix", "WASIX spawn": "spawn",
    "HTTP": "http", "Python": "python",
}  # fmt: skip
CALLERS = tuple(COLUMNS.values())
#: Those of them that are guests.
CALLING = CALLERS[:6]
CALLEES = tuple(ENTRY)

#: What a callee that returns a code puts out beside it, where its interface keeps that.
SAID = {"faasm": b"Call failed (return value=6)", "wasi": b"it failed", "wasix": b"it failed"}


def read():
    """The table: what each caller sees, by row and caller."""
    text = (guests.root() / "docs" / "calls.md").read_text()
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    start = next(number for number, cells in enumerate(lines) if cells[0].strip() == "The callee …")
    heads = [cell.partition(":")[0].strip() for cell in lines[start][1:]]
    rows = {}
    for title, *cells in lines[start + 1 :]:
        if len(cells) != len(heads):
            break
        rows[title.strip()] = dict(zip(heads, (cell.strip() for cell in cells), strict=True))
    return {
        title: {COLUMNS.get(head, head): cell for head, cell in cells.items()}
        for title, cells in rows.items()
    }


def wanted(caller, cell, code=0):
    """What a caller has to report, as a cell of the table says it.

    Args:
        caller: who calls.
        cell: the cell's text.
        code: what the callee returned.
    """
    text = cell.replace("*c*", str(code)).replace("(c)", f"({code})")
    numbers = [int(number) for number in re.findall(r"-?\d+", text)]
    if caller == "python":
        name = re.match(r"`(\w+)", text)
        return 0 if name is None else (name[1], code) if name[1] == "GuestFailed" else name[1]
    if caller == "http":
        return numbers[0], numbers[1] if len(numbers) > 1 else None
    if caller == "grafos" and "status" not in text:
        return 100 * numbers[0] + (numbers[1] if len(numbers) > 1 else 0)
    if caller == "wasix":
        return 0 if text.startswith("result") else numbers[0] + 100 * text.startswith("fault")
    if caller == "spawn":
        return numbers[0] + 1000 * text.startswith("`proc_spawn`")
    if text == "trap":
        return text
    if " if it is " in text:
        return code if code in numbers[1:-1] else numbers[-1]
    return numbers[0]


class Village:
    """A host with guests of all interfaces that call each other, and a gateway.

    Args:
        engine: the host's.
        folder: where cells may keep files.
        options: of the host.
    """

    def __init__(self, engine, folder, **options):
        self.host = guesthouse.Host(workers=2, engine=engine, pulp={"storage_root": folder}, **options)
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self.host)
        self._numbers = itertools.count()
        self._client = None

    def close(self):
        self._stack.close()

    def guest(self, source, name=None, **options):
        """The name of a guest, loaded when it is first asked for; without a name a new one each time."""
        name = name or f"{source}{next(self._numbers)}"
        tenant = options.get("tenant", "default")
        if all((guest.name, guest.tenant) != (name, tenant) for guest in self.host.guests):
            # on the bus, topics travel as hashes: those of a cell have to be known
            options.setdefault("provides", [ENTRY[source]] if source == "pulp" else [])
            load(self.host, name, source=source, **options)
        return name

    def ask(self, caller, name, entry, text, *, who=None, **options):
        """Have somebody call a guest: what he reports, and the output."""
        if caller == "python":
            return self._from_python(name, entry, text)
        if caller == "http":
            return self._over_http(name, entry, text)
        who = who or self.guest(caller, f"from-{caller}")
        result = self.host.guest(who).invoke(
            f"call|{name}|{entry}|{text}".encode(), entry=ENTRY.get(caller, "_start"), **options
        )
        if result.error is not None:
            return "trap", b""
        code, _, output = result.output.partition(b"|")
        return int(code), output

    def _from_python(self, name, entry, text):
        try:
            result = self.host.invoke(name, text.encode(), entry=entry)
            return 0, result.unwrap()
        except errors.GuestFailed as error:
            return ("GuestFailed", error.code), error.output
        except errors.Error as error:
            return type(error).__name__, b""

    def _over_http(self, name, entry, text):
        answer = self.client.post(f"/v1/guests/{name}/call", params={"entry": entry}, content=text)
        code = answer.headers.get("guesthouse-code")
        return (answer.status_code, None if code is None else int(code)), answer.content

    @property
    def client(self):
        if self._client is None:
            gateway = self._stack.enter_context(Gateway(self.host, "127.0.0.1:0"))
            self._client = self._stack.enter_context(httpx.Client(base_url=gateway.url, timeout=20))
        return self._client

    def runs(self, name):
        """Wait until a guest computes; its call."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for call in self.host.scheduler.live():
                if call.guest == name and call.started_ns and call.instance:
                    return call
            time.sleep(0.002)
        raise AssertionError(f"{name} does not run")

    @contextlib.contextmanager
    def cancelling(self, name):
        """Cancel each call of a guest as soon as it runs."""
        over = threading.Event()

        def watch():
            while not over.wait(0.005):
                for call in self.host.scheduler.live():
                    if call.guest == name and call.started_ns:
                        self.host.scheduler.cancel(call, "by the test")

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def quiet(self):
        """Whether everything ends soon."""
        end = time.monotonic() + 10
        while self.host.scheduler.stats()["live"] and time.monotonic() < end:
            time.sleep(0.005)
        return self.host.scheduler.stats()["live"] == 0
