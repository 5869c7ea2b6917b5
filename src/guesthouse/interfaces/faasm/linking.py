"""``dlopen``, ``dlsym``, ``dlclose`` and ``dlerror`` (faasm.md 2.5)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from guesthouse.calls import Call
from guesthouse.engine import HostFunction
from guesthouse.errors import LoadError
from guesthouse.interfaces.faasm.io import text_at
from guesthouse.interfaces.faasm.libraries import MAIN, Libraries, Rows
from guesthouse.interfaces.faasm.rows import row
from guesthouse.interfaces.faasm.session import Session, session_of
from guesthouse.interfaces.faasm.space import reserve

__all__ = ["CAPABILITY", "ROWS", "granted_rows"]

CAPABILITY = "faasm.dl"

#: Bytes of a message that :func:`dlerror` shows, its NUL included.
_MOST_MESSAGE = 512


def granted_rows(tables: Iterable[HostFunction], granted: Collection[str]) -> Rows:
    """Return by name the host functions that a guest's libraries may import."""
    rows: dict[str, list[HostFunction]] = {}
    for each in tables:
        if not each.capability or each.capability in granted:
            rows.setdefault(each.name, []).append(each)
    return rows


def dlopen(call: Call, path: int, flags: int) -> int:
    """Load a library for good and return its handle; 0 when that fails."""
    session = session_of(call)
    if path == 0:
        return MAIN
    name = text_at(call.instance, path).decode("utf-8", "backslashreplace")
    try:
        return _libraries(call, session).open(name)
    except LoadError as error:
        session.linking_error = str(error)
        return 0


def dlsym(call: Call, handle: int, name: int) -> int:
    """Return a function pointer or the address of data; 0 when there is no such symbol."""
    session = session_of(call)
    symbol = text_at(call.instance, name).decode("utf-8", "backslashreplace")
    try:
        return _libraries(call, session).symbol(handle, symbol)
    except LoadError as error:
        session.linking_error = str(error)
        return 0


def dlclose(call: Call, handle: int) -> int:
    """Keep the library, as code stays loaded until the call ends; say whether the handle is one."""
    session = session_of(call)
    if handle == MAIN or (session.libraries is not None and session.libraries.knows(handle)):
        return 0
    session.linking_error = f"there is no library with the handle {handle}"
    return -1


def dlerror(call: Call) -> int:
    """Return the address of the last error's message, or 0 when there was none since the last time."""
    session = session_of(call)
    message, session.linking_error = session.linking_error, None
    if message is None:
        return 0
    at = session.kept.get("dlerror")
    if at is None:
        instance = call.instance
        with_malloc = instance.signature("malloc") == ("i", "i")
        at = (instance.invoke("malloc", _MOST_MESSAGE) if with_malloc else 0) or reserve(
            instance, _MOST_MESSAGE
        )
        session.kept["dlerror"] = at
    text = message.encode()[: _MOST_MESSAGE - 1]
    call.instance.write(at, text.decode("utf-8", "ignore").encode() + b"\0")
    return at


def _libraries(call: Call, session: Session) -> Libraries:
    if session.libraries is None:
        if session.files is None:
            raise LoadError("libraries are read from files, and faasm.files was not granted")
        session.libraries = Libraries(call.instance, session.files, session.rows())
    return session.libraries


ROWS: tuple[HostFunction, ...] = (
    row("dlopen", "ii", "i", dlopen, "Load a position-independent library.", CAPABILITY),
    row("dlsym", "ii", "i", dlsym, "Find a function or data by name.", CAPABILITY),
    row("dlclose", "i", "i", dlclose, "Let go of a library, which stays.", CAPABILITY),
    row("dlerror", "", "i", dlerror, "Tell what went wrong last.", CAPABILITY),
)
