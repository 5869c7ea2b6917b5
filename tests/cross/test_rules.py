"""Who may call whom: the rules alone, without guests (docs/calls.md)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from guesthouse import errors
from guesthouse.calls import crossing
from guesthouse.calls.crossing import Failure
from guesthouse.calls.results import Receipt, Result


@dataclass
class Party:
    name: str
    tenant: str = "a"
    provides: tuple[str, ...] = ()
    consumes: tuple[str, ...] | None = None
    private: bool = False


@pytest.mark.parametrize(
    ("caller", "callee", "entry", "expected"),
    [
        # one tenant, nothing declared: everybody calls everybody, private or not
        (Party("one"), Party("two"), None, True),
        (Party("one"), Party("two", private=True), "echo", True),
        # consumes narrows it down: by guest, by guest and entry, by provided entry
        (Party("one", consumes=()), Party("two"), None, False),
        (Party("one", consumes=()), Party("one"), "self", True),
        (Party("one", consumes=("two",)), Party("two"), "echo", True),
        (Party("one", consumes=("two/echo",)), Party("two"), "echo", True),
        (Party("one", consumes=("two/echo",)), Party("two"), "other", False),
        (Party("one", consumes=("two/echo",)), Party("two"), None, False),
        (Party("one", consumes=("rank",)), Party("two", provides=("rank",)), "rank", True),
        (Party("one", consumes=("rank",)), Party("two"), "rank", False),
        (Party("one", consumes=("a:two",)), Party("two"), None, False),
        # opened before it is called: some entry has to be allowed
        (Party("one", consumes=("two/echo",)), Party("two"), "*", True),
        (Party("one", consumes=("three/echo",)), Party("two"), "*", False),
        (Party("one", consumes=("b:two/echo",)), Party("two", "b", provides=("echo",)), "*", True),
        (Party("one", consumes=("b:two/echo",)), Party("two", "b"), "*", False),
        # across tenants both sides have to agree
        (Party("one"), Party("two", "b"), "echo", False),
        (Party("one"), Party("two", "b", provides=("echo",)), "echo", False),
        (Party("one", consumes=("b:two",)), Party("two", "b"), "echo", False),
        (Party("one", consumes=("two",)), Party("two", "b", provides=("echo",)), "echo", False),
        (Party("one", consumes=("echo",)), Party("two", "b", provides=("echo",)), "echo", False),
        (Party("one", consumes=("b:two",)), Party("two", "b", provides=("echo",)), "echo", True),
        (Party("one", consumes=("b:two/echo",)), Party("two", "b", provides=("echo",)), "echo", True),
        (Party("one", consumes=("b:two",)), Party("two", "b", provides=("echo",)), "other", False),
        (Party("one", consumes=("b:two",)), Party("two", "b", provides=("*",)), None, True),
        (Party("one", consumes=("b:two",)), Party("two", "b", ("echo",), None, True), "echo", False),
    ],
)
def test_who_may_call_whom(caller, callee, entry, expected):
    assert crossing.allowed(caller, callee, entry) == expected


def test_a_guest_left_out_is_visible_within_its_tenant_and_hidden_from_others():
    left_out = Party("one", consumes=())
    assert crossing.visible(left_out, Party("two"), None)
    assert not crossing.visible(left_out, Party("two", "b", provides=("*",)), None)


def test_names_of_other_tenants_are_spelled_with_a_colon():
    assert crossing.split("worker", "a") == ("a", "worker")
    assert crossing.split("b:worker", "a") == ("b", "worker")
    assert crossing.split("cell/function", "a") == ("a", "cell/function")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.NotFound("guest", "x"), Failure.NOT_FOUND),
        (crossing.NotAllowed("guest", "x"), Failure.NOT_ALLOWED),
        (errors.CallRefused("depth", limit=1), Failure.REFUSED),
        (errors.MissingImports([("a", "b", None)]), Failure.LOAD),
        (errors.Trap("unreachable"), Failure.TRAP),
        (errors.DeadlineExceeded(), Failure.DEADLINE),
        (errors.OutOfFuel(), Failure.LIMIT),
        (errors.MemoryLimit(2, 1), Failure.LIMIT),
        (errors.InputLimit(2, 1), Failure.LIMIT),
        (errors.OutputLimit(1), Failure.LIMIT),
        (errors.PoolFull(16), Failure.REFUSED),
        (errors.Cancelled("why"), Failure.CANCELLED),
        (RuntimeError("a bug"), Failure.INTERNAL),
    ],
)
def test_every_error_has_a_kind(error, kind):
    assert crossing.kind_of(error) is kind
    assert crossing.failure_of(Result(1, 1, b"", error, Receipt())) is kind


def test_codes_and_successes():
    assert crossing.failure_of(Result(1, 3, b"x", None, Receipt())) is Failure.CODE
    assert crossing.failure_of(Result(1, 0, b"x", None, Receipt())) is None
