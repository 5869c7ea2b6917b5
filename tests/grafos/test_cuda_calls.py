"""What the driver tells the CUDA backend, and what of it a session is told.

That calls are well formed is checked in test_cases_gpu.py, through the real bindings: against a stand-in for the
driver's library everywhere, and against a device on a machine that has one.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from guesthouse.resources.gpu.failures import SessionError

cuda = pytest.importorskip("guesthouse.resources.gpu.cuda", reason="cuda-bindings is not installed")


@pytest.mark.parametrize(
    ("status", "failure"),
    [(1, 5), (2, 6), (200, 2), (209, 3), (218, 2), (222, 2), (500, 4), (700, 8), (701, 7), (702, 9)]
    + [(status, 8) for status in range(714, 720)]
    + [(999, 255)],
)
def test_the_drivers_results_become_failures_of_the_session(monkeypatch, status, failure):
    names = SimpleNamespace(cuGetErrorName=lambda status: (0, b"CUDA_ERROR_%d" % status))
    monkeypatch.setattr(cuda, "driver", names)

    def cuSomething():
        return (status, None)

    with pytest.raises(SessionError, match=f"cuSomething: CUDA_ERROR_{status}") as caught:
        cuda.call(cuSomething)
    assert caught.value.failure == failure


def test_results_come_without_their_status():
    assert cuda.call(lambda: (0,)) == ()
    assert cuda.call(lambda: (0, 7)) == 7
    assert cuda.call(lambda: (0, 7, 8)) == (7, 8)
