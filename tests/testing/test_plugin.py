"""The pytest plugin, used as a stranger would."""

from __future__ import annotations

pytest_plugins = ["pytester"]

TEST = '''
import pytest
import guesthouse
from guesthouse.testing import guests, inject, mock_advance_time_secs, mock_set_fbmu_hello_error

PROGRAM = """(module
  (import "fabricbios_fbmu_v0" "fbmu_hello" (func $hello (result i32)))
  (import "fabricbios_fbmu_v0" "unix_time_secs" (func $now (result i64)))
  (import "fabricbios_net_v0" "net_hello" (func $net (param i64 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "run") (result i32) (call $hello))
  (func (export "now") (result i32) (i32.wrap_i64 (call $now)))
  (func (export "net") (result i32)
    (call $net (i64.const 0) (i32.const 8) (i32.const 8) (i32.const 32) (i32.const 40))))"""


@pytest.fixture
def guest(guest_host):
    return guest_host.load(guests.wat(PROGRAM), name="program", grant=["grafos"])


def test_hello(guest, mock_fabric):
    assert guest.invoke().code == 0
    mock_set_fbmu_hello_error(-1)
    assert guest.invoke().code == -1


def test_defaults_are_back(guest, virtual_clock, mock_fabric):
    assert guest.invoke().code == 0
    mock_advance_time_secs(5)
    assert guest.invoke(entry="now").code == virtual_clock.now() + 5


def test_faults_in_native_and_in_python_functions(guest, faults):
    inject("fbmu_hello", code=-6, times=2)
    faults.inject("net_hello", error=OSError("unplugged"))
    assert [guest.invoke().code for _ in range(3)] == [-6, -6, 0]
    with pytest.raises(OSError, match="unplugged"):
        guest.call(entry="net")
    assert guest.invoke(entry="net").code == 0
'''


def test_fixtures_work_in_somebody_elses_tests(pytester):
    pytester.makepyfile(TEST)
    result = pytester.runpytest_inprocess(
        "-p", "guesthouse.testing.plugin", "-p", "no:randomly", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=3)
