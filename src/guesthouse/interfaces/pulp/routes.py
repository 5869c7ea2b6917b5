"""Route patterns of inbound HTTP and their precedence (spec/pulp.md 3.4).

A pattern is a path of literal segments, ``:name`` captures and at most one trailing ``*name`` that
takes the rest.  The most specific pattern wins: the end of the path before a literal segment, that
before a capture, that before a catch-all, decided from left to right.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeAlias, TypeVar

Owner = TypeVar("Owner", bound=Hashable)


class BadPattern(ValueError):
    """A pattern does not start with a slash, names a capture twice, or has no method."""


class RouteConflict(ValueError):
    """The pattern matches exactly the paths that another owner's pattern matches."""


class Rank(IntEnum):
    """How specific one position of a pattern is; lower wins."""

    END = 0
    LITERAL = 1
    PARAM = 2
    REST = 3


#: Rank of every segment, and the text of literal ones.
Shape: TypeAlias = tuple[tuple[Rank, str], ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed path pattern.

    Attributes:
        text: the pattern as registered.
        segments: rank and literal text or capture name of every segment.
    """

    text: str
    segments: tuple[tuple[Rank, str], ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Parse a pattern; raises `BadPattern`."""
        if not text.startswith("/"):
            raise BadPattern(f"pattern {text!r} must start with '/'")
        segments: list[tuple[Rank, str]] = []
        pieces = text[1:].split("/")
        for position, piece in enumerate(pieces):
            if piece.startswith(":"):
                segments.append((Rank.PARAM, piece[1:]))
            elif piece.startswith("*") and position == len(pieces) - 1:
                segments.append((Rank.REST, piece[1:]))
            elif piece.startswith("*"):
                raise BadPattern(f"pattern {text!r}: '*' may only be the last segment")
            else:
                segments.append((Rank.LITERAL, piece))
        captures = [name for rank, name in segments if rank is not Rank.LITERAL]
        if "" in captures or len(set(captures)) != len(captures):
            raise BadPattern(f"pattern {text!r}: captures need different, nonempty names")
        return cls(text, tuple(segments))

    @property
    def shape(self) -> Shape:
        """The segments without capture names: equal shapes match exactly the same paths."""
        return tuple((rank, name if rank is Rank.LITERAL else "") for rank, name in self.segments)

    @property
    def precedence(self) -> tuple[Rank, ...]:
        """Sort key: a smaller one is more specific; the end of a pattern counts as a position."""
        return (*(rank for rank, _ in self.segments), Rank.END)

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """Return the captures when the pattern covers a path split at its slashes, else ``None``."""
        captures: dict[str, str] = {}
        for position, (rank, name) in enumerate(self.segments):
            if rank is Rank.REST:
                captures[name] = "/".join(segments[position:])
                return captures
            if position >= len(segments):
                return None
            if rank is Rank.PARAM:
                if not segments[position]:
                    return None
                captures[name] = segments[position]
            elif segments[position] != name:
                return None
        return captures if len(segments) == len(self.segments) else None


@dataclass(frozen=True, slots=True)
class Route(Generic[Owner]):
    """A registered pattern and who answers it."""

    method: str
    pattern: Pattern
    owner: Owner


class RouteTable(Generic[Owner]):
    """Routes of one listener. Safe for any number of threads; reading takes no lock."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._routes: dict[str, tuple[Route[Owner], ...]] = {}
        self._again: dict[Owner, set[tuple[str, Shape]]] = {}

    def register(self, method: str, path: str, owner: Owner) -> bool:
        """Add a route; registering one's own route again changes nothing.

        Returns:
            Whether the route is new.

        Raises:
            BadPattern: the pattern or the method is malformed.
            RouteConflict: another owner has a route for exactly the same paths.
        """
        method = method.strip().upper()
        if not method:
            raise BadPattern(f"the route {path!r} needs a method")
        pattern = Pattern.parse(path)
        with self._writing:
            if owner in self._again:
                self._again[owner].add((method, pattern.shape))
            routes = self._routes.get(method, ())
            for route in routes:
                if route.pattern.shape == pattern.shape:
                    if route.owner == owner:
                        return False
                    raise RouteConflict(f"{method} {path} overlaps {route.pattern.text} of another cell")
            added = (*routes, Route(method, pattern, owner))
            self._routes[method] = tuple(sorted(added, key=lambda route: route.pattern.precedence))
            return True

    def drop(self, belongs: Callable[[Owner], bool]) -> None:
        """Forget the routes whose owner the predicate accepts."""
        with self._writing:
            for method, routes in list(self._routes.items()):
                self._routes[method] = tuple(route for route in routes if not belongs(route.owner))

    @contextmanager
    def renewing(self, owner: Owner) -> Iterator[None]:
        """Keep an owner's routes while it starts anew, then forget those that it did not register again."""
        again = self._again[owner] = set()
        try:
            yield
        finally:
            self._again.pop(owner, None)
        with self._writing:
            for method, routes in list(self._routes.items()):
                self._routes[method] = tuple(
                    route
                    for route in routes
                    if route.owner != owner or (method, route.pattern.shape) in again
                )

    def find(self, method: str, path: str) -> tuple[Route[Owner], dict[str, str]] | None:
        """Return the most specific route for a request and its captures.

        Args:
            method: in upper case.
            path: decoded path, without the query.
        """
        routes = self._routes.get(method)
        if not routes:
            return None
        segments = path[1:].split("/")
        for route in routes:
            captures = route.pattern.match(segments)
            if captures is not None:
                return route, captures
        return None

    def __bool__(self) -> bool:
        return any(self._routes.values())

    def routes(self) -> list[Route[Owner]]:
        """Return all routes, most specific first within each method."""
        return [route for routes in self._routes.values() for route in routes]
