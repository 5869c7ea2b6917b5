"""Sizes, durations and limits: every spelling, every refusal, and that children never get more."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.limits import Limits, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        (7, 7),
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        ("64M", 64 << 20),
        ("2GB", 2 * 10**9),
        ("1.5KiB", 1536),
        ("10b", 10),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes(text: int | str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "64 XiB", "-1", "1e3", "0.3B", "64MiB!", -5, True, 1.5, None])
def test_what_is_no_size(text: object):
    with pytest.raises(ValueError):
        parse_size(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("1m 5s", 65.0),
        ("3", 3.0),
        (0.25, 0.25),
        ("10us", 1e-5),
    ],
)
def test_durations(text: float | str, seconds: float):
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "s", "2 fortnights", "-1s", "1s!", float("nan"), float("inf"), -1, True, None]
)
def test_what_is_no_duration(text: object):
    with pytest.raises(ValueError):
        parse_duration(text)  # type: ignore[arg-type]


def test_defaults_bound_everything_but_fuel():
    limits = Limits()
    assert limits.memory == 64 << 20 and limits.wall == 2.0 and limits.fuel is None
    assert all(value is not None for name, value in limits.as_dict().items() if name != "fuel")


@pytest.mark.parametrize(
    ("given_limits", "words"),
    [
        ({"memory": "lots"}, "limit 'memory': 'lots' is not a size"),
        ({"wall": 0}, "limit 'wall': a deadline of 0"),
        ({"fuel": 0}, "limit 'fuel': 0 is not a whole number of at least 1"),
        ({"children": -1}, "limit 'children'"),
        ({"depth": 1.5}, "limit 'depth'"),
        ({"output": None}, "limit 'output'"),
    ],
)
def test_wrong_values_name_the_limit(given_limits: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        Limits(**given_limits)  # type: ignore[arg-type]


def test_limits_cannot_be_changed_but_replaced():
    limits = Limits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.memory = 1  # type: ignore[misc]
    assert limits.replace(wall="1ms").wall == 0.001
    with pytest.raises(ValueError, match="no limit named 'walls'"):
        limits.replace(walls="1ms")


LIMITS = st.builds(
    Limits,
    memory=st.integers(0, 2**40),
    wall=st.none() | st.floats(1e-6, 1e6),
    fuel=st.none() | st.integers(1, 2**60),
    children=st.integers(0, 100),
    depth=st.integers(0, 100),
)


@given(LIMITS, LIMITS)
def test_a_child_is_within_both(one: Limits, other: Limits):
    child = one.at_most(other)
    assert child.within(one) and child.within(other)
    assert child == other.at_most(one)
    assert one.at_most(one) == one


def test_sizes_print_readably():
    sizes = (0, 1023, 1024, 1536, 64 << 20, 10**9, 5 << 40)
    assert [format_size(n) for n in sizes] == ["0B", "1023B", "1KiB", "1.5KiB", "64MiB", "954MiB", "5TiB"]


def test_durations_print_readably():
    assert [format_duration(t) for t in (3e-9, 2.5e-6, 0.0125, 1.0, 90)] == [
        "3ns",
        "2.5us",
        "12.5ms",
        "1s",
        "90s",
    ]
