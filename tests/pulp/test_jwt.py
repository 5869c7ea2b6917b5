"""identity.jwt.hs256 (spec/pulp.md 3.11)."""

from __future__ import annotations

import time

import jwt
import pytest

from guesthouse.interfaces.pulp.extensions.jwt import ISSUER

SECRET = "0123456789abcdef" * 4
SETTINGS = {"PULP_JWT_HS256_SECRET": SECRET}
NAME = "identity.jwt.hs256"
WHO = {"account_id": "a1", "session_id": "s1"}


def later(seconds: float = 60) -> int:
    return int((time.time() + seconds) * 1000)


@pytest.fixture
def cell(window):
    return window(NAME, settings=SETTINGS)


def test_what_was_signed_verifies_and_says_the_same(cell) -> None:
    code, reply = cell.jwt_sign({**WHO, "expires_at": later()})
    assert code == 0
    assert cell.jwt_verify(reply) == (0, WHO)
    claims = jwt.decode(reply["token"], SECRET, ["HS256"], issuer=ISSUER, audience=NAME)
    assert claims["account_id"] == "a1"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"", 2),
        (b"\xc1", 3),
        ({**WHO, "expires_at": later(-1)}, 3),
        ({**WHO, "account_id": "", "expires_at": later()}, 3),
        ({"account_id": "a", "expires_at": later()}, 3),
    ],
)
def test_what_cannot_be_signed(cell, request_, code) -> None:
    assert cell.jwt_sign(request_) == (code, None)


def forged(**changes: object) -> str:
    claims = {"iss": ISSUER, "aud": [NAME], "exp": time.time() + 60, **WHO, **changes}
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, SECRET, "HS256")


@pytest.mark.parametrize(
    "token",
    [
        "no token at all",
        forged(exp=time.time() - 1),
        forged(exp=None),
        forged(iss="somebody"),
        forged(aud=["something"]),
        forged(account_id=None),
        forged(session_id=7),
        jwt.encode({"iss": ISSUER, "aud": [NAME], "exp": time.time() + 60, **WHO}, "x" * 32, "HS256"),
        jwt.encode({"iss": ISSUER, "aud": [NAME], "exp": time.time() + 60, **WHO}, SECRET, "HS384"),
        jwt.encode({"iss": ISSUER, "aud": [NAME], "exp": time.time() + 60, **WHO}, "", "none"),
    ],
)
def test_what_is_not_valid_is_code_5(cell, token) -> None:
    assert cell.jwt_verify({"token": token}) == (5, None)


@pytest.mark.parametrize("settings", [{}, {"PULP_JWT_HS256_SECRET": "short"}])
def test_without_a_long_enough_key_the_capability_is_absent(window, settings) -> None:
    assert window(NAME, settings=settings).jwt_sign({**WHO, "expires_at": later()}) == (99, None)


def test_undeclared_it_is_absent(window) -> None:
    assert window(settings=SETTINGS).jwt_verify({"token": forged()}) == (99, None)
