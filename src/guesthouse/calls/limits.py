"""Bounds of the scheduler; every one of them is on by default (DESIGN section 8.4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls there may be, how deep, and how long their results are kept.

    Attributes:
        depth: calls above one another; a call without parent has depth 0.
        children: live children of one call.
        tree: live calls below one call that has no parent.
        queued: calls of one tenant that wait for a worker.
        nesting: calls that help each other on one thread's stack; beyond it a waiting call lends its
            worker instead.
        threads: worker threads, those counted that only wait; times `nesting` they stay below the number of
            instances that fit into the pool of the engine.
        stack: stack of one worker thread, in bytes (reserved, not committed).
        stack_reserve: stack that must be left before one more call is nested, in bytes.
        result_age: seconds that a finished call is kept.
        results: finished calls that are kept.
        result_bytes: bytes of all kept outputs together.
    """

    depth: int = 256
    children: int = 16_384
    tree: int = 65_536
    queued: int = 131_072
    nesting: int = 24
    threads: int = 160
    stack: int = 64 << 20
    stack_reserve: int = 2 << 20
    result_age: float = 600.0
    results: int = 32_768
    result_bytes: int = 256 << 20
