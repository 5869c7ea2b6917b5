"""Cells that are frozen after ``pulp_init``: which can be, and with which configuration (docs/snapshots.md).

``pulp_init`` may do what no file can keep: register routes, open databases, call siblings.  So while it runs
to be frozen, every import beside WASI's refuses, before anything has happened.  What it drew of random bytes
would be the same in all instances, keys included; that is refused, too.  A frozen cell answers ``pulp_init``
with 0 and does nothing; it carries the digest of the configuration that it has seen, and takes no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guesthouse.engine import Exit
from guesthouse.engine.snapshot import Unsafe, mark
from guesthouse.errors import CallError
from guesthouse.interfaces.contract import Beginning, Reached, refuse_to_reach
from guesthouse.interfaces.pulp import codec
from guesthouse.interfaces.pulp.passage import Passage

if TYPE_CHECKING:
    from guesthouse.engine import Instance, ModuleInfo
    from guesthouse.registry import Links

INIT = "pulp_init"
#: Starts, the first that is exported (spec/pulp.md 2.1).
STARTS = ("_initialize", "_start")

#: Imports that leave nothing behind but a line in the log.
_HARMLESS = frozenset({"log_write"})
_RANDOM = "random_get"


class OtherConfiguration(CallError):
    """A cell was frozen after ``pulp_init`` with another configuration than it is to run with."""

    def __init__(self, cell: str) -> None:
        super().__init__(
            "the module was frozen after pulp_init with another configuration; freeze it again with the one "
            "that it is to run with, or use the original module",
            guest=cell,
            function=INIT,
        )


def isolate(links: Links) -> None:
    """Make every import refuse that reaches beyond the cell: all but WASI's and the log."""
    refuse_to_reach(links, lambda row: row.module.startswith("wasi") or row.name in _HARMLESS)


def initialise(instance: Instance, cell: str, config: Mapping[str, Any], *, fully: bool) -> Beginning:
    """Run a cell's start, and ``pulp_init`` where it can be frozen afterwards.

    Args:
        instance: a started instance, its links isolated.
        cell: for messages.
        config: what ``pulp_init`` is to see.
        fully: run ``pulp_init``.

    Raises:
        Unsafe: ``pulp_init`` did what a file cannot keep, or failed.
        CallError: the start failed.
    """
    start = next((name for name in STARTS if instance.exports(name)), None)
    if start is not None:
        instance.invoke(start)
    without = () if start is None else (start,)
    if not fully:
        return Beginning(after="its constructors", without=without)
    data = codec.encode(config) if config else b""
    drawn = _drawn(instance)
    try:
        code = Passage(instance, cell).init(data) if data else instance.invoke(INIT, 0, 0)
    except Reached as reached:
        raise Unsafe(f"{INIT} calls {reached.function}, whose effect no file can keep") from None
    except Exit as leaving:
        raise Unsafe(f"{INIT} left with code {leaving.code}") from None
    except CallError as failed:
        raise Unsafe(f"{INIT} failed: {failed.message}") from failed
    if code:
        raise Unsafe(f"{INIT} returned {code}")
    if _drawn(instance) > drawn:
        raise Unsafe(f"{INIT} draws random bytes, which all instances would have in common")
    return Beginning(after=INIT, without=without, settled=(INIT,), note={INIT: digest(data)})


def _drawn(instance: Instance) -> int:
    calls = instance.host_calls()
    return sum(count for name, count in calls.items() if name.rpartition(".")[2] == _RANDOM)


def frozen_with(info: ModuleInfo) -> str | None:
    """Return the digest of the configuration that a cell was frozen with, ``None`` for any other cell."""
    found = mark(info).get(INIT)
    return found if isinstance(found, str) else None


def digest(config: bytes) -> str:
    """Return a digest of an encoded configuration that the order of its keys makes no difference to."""
    if not config:
        return hashlib.sha256(b"").hexdigest()
    try:
        settled = codec.encode(_sorted(codec.decode(config)))
    except (codec.DecodeError, codec.EncodeError):  # bytes of the embedder's own
        settled = config
    return hashlib.sha256(settled).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=str)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value
