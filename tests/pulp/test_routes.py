"""Route patterns and precedence (spec/pulp.md 3.4)."""

from __future__ import annotations

import pytest

from guesthouse.interfaces.pulp.routes import BadPattern, RouteConflict, RouteTable


def table(*patterns: str) -> RouteTable[str]:
    routes: RouteTable[str] = RouteTable()
    for pattern in patterns:
        routes.register("get", pattern, "cell")
    return routes


@pytest.mark.parametrize(
    ("patterns", "path", "winner", "captures"),
    [
        (["/"], "/", "/", {}),
        (["/echo/:word"], "/echo/hi", "/echo/:word", {"word": "hi"}),
        (["/a/:x", "/a/b"], "/a/b", "/a/b", {}),
        (["/*rest", "/a/:x"], "/a/b", "/a/:x", {"x": "b"}),
        (["/*rest", "/a/:x"], "/a/b/c", "/*rest", {"rest": "a/b/c"}),
        (["/f/*rest", "/f"], "/f", "/f", {}),
        (["/f/*rest"], "/f/", "/f/*rest", {"rest": ""}),
        (["/f/*rest"], "/f", "/f/*rest", {"rest": ""}),
        (["/:a/b/:c", "/x/:b/y"], "/x/b/y", "/x/:b/y", {"b": "b"}),
        (["/a/"], "/a/", "/a/", {}),
    ],
)
def test_the_most_specific_pattern_wins(
    patterns: list[str], path: str, winner: str, captures: dict[str, str]
) -> None:
    for order in (patterns, patterns[::-1]):
        found = table(*order).find("GET", path)
        assert found is not None
        assert (found[0].pattern.text, found[1]) == (winner, captures)


@pytest.mark.parametrize("path", ["/echo", "/echo/", "/echo/a/b", "/other/a", "/"])
def test_segments_are_counted_exactly(path: str) -> None:
    assert table("/echo/:word").find("GET", path) is None
    assert table("/echo/:word").find("POST", "/echo/a") is None


@pytest.mark.parametrize("pattern", ["", "a", "/:", "/*", "/*a/b", "/:x/:x"])
def test_malformed_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        table(pattern)
    with pytest.raises(BadPattern):
        RouteTable[str]().register(" ", "/ok", "cell")


def test_a_route_belongs_to_one_owner() -> None:
    routes = table("/a/:x")
    assert routes.register("GET", "/a/:x", "cell") is False
    with pytest.raises(RouteConflict):
        routes.register("GET", "/a/:other_name", "rival")
    routes.register("POST", "/a/:x", "rival")
    routes.drop(lambda owner: owner == "cell")
    assert routes.find("GET", "/a/1") is None
    assert routes.find("POST", "/a/1") is not None
