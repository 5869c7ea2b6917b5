"""The pytest plugin, used as a stranger would: the test file of its own guide, outside of any checkout."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
QUIET = ("-p", "guesthouse.testing.plugin", "-p", "no:randomly", "-p", "no:cacheprovider")

pytest_plugins = ["pytester"]


def test_the_guides_tests_pass(pytester):
    pytester.makepyfile(BLOCKS[0])
    result = pytester.runpytest_inprocess(*QUIET)
    result.assert_outcomes(passed=6)


def test_what_it_shows_without_pytest_runs():
    exec(compile(BLOCKS[1], "testing.md", "exec"), {})


def test_every_test_begins_anew(pytester):
    pytester.makepyfile("""
import guesthouse
import pytest
from guesthouse.testing import guests, inject, mock_advance_time_secs, mock_set_fbmu_hello_error

HELLO = guests.wat('''(module (import "fabricbios_fbmu_v0" "fbmu_hello" (func $hello (result i32)))
  (import "fabricbios_fbmu_v0" "unix_time_secs" (func $now (result i64)))
  (memory (export "memory") 1)
  (func (export "run") (result i32) (call $hello))
  (func (export "now") (result i32) (i32.wrap_i64 (call $now))))''')


@pytest.mark.parametrize("number", range(2))
def test_hello(guest_host, faults, number):
    guest = guest_host.load(HELLO, name="program", grant=["grafos"])
    assert guest.invoke(entry="now").code == 1_700_000_000
    assert guest.invoke().code == 0
    assert faults.count("fbmu_hello") == 0
    inject("fbmu_hello", code=-6, times=2)
    assert [guest.invoke().code for _ in range(2)] == [-6, -6]
    mock_set_fbmu_hello_error(-1)
    assert guest.invoke().code == -1
    mock_advance_time_secs(5)
    assert guest.invoke(entry="now").code == 1_700_000_005
    inject("fbmu_hello", code=-6, times=-1)


def test_the_clock_is_everybodys(guest_host, virtual_clock, mock_fabric):
    guest = guest_host.load(HELLO, name="program", grant=["grafos"])
    virtual_clock.advance(7)
    assert mock_fabric.clock is virtual_clock
    assert guest.invoke(entry="now").code == virtual_clock.now() == 1_700_000_007
    with pytest.raises(ValueError, match="did you mean"):
        inject("fbmu_helo")
""")
    pytester.runpytest_inprocess(*QUIET).assert_outcomes(passed=3)
