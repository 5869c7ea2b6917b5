"""``identity.jwt.hs256``: tokens signed with a key that no guest ever sees (spec/pulp.md 3.11).

The key is the setting ``PULP_JWT_HS256_SECRET``; shorter than 32 bytes, the capability counts as absent.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused, reply, take
from guesthouse.interfaces.pulp.structs import Message, go

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall

SECRET = "PULP_JWT_HS256_SECRET"  # noqa: S105 - the name of the setting
SHORTEST_SECRET = 32
ALGORITHM = "HS256"
#: Who issues the tokens, and for what: those of one deployment are valid in its other hosts.
ISSUER = "github.com/BananaLabs-OSS/Pulp-ext-jwt"
INVALID = 5


@dataclass(slots=True)
class SignRequest(Message):
    """What a token shall say; ``expires_at`` is in Unix milliseconds."""

    account_id: str = go("str")
    session_id: str = go("str")
    expires_at: int = go("int64")


@dataclass(slots=True)
class Token(Message):
    """The reply of ``jwt_sign`` and the request of ``jwt_verify``."""

    token: str = go("str")


@dataclass(slots=True)
class Identity(Message):
    """What a valid token says."""

    account_id: str = go("str")
    session_id: str = go("str")


class JWT(Extension):
    """Signs and verifies identities for cells."""

    name = "identity.jwt.hs256"
    summary = "Sign and verify identities with a key of the host."

    def __init__(self) -> None:
        self._secret = b""

    def setup(self, environment: Environment) -> None:
        """Take the key out of the settings."""
        self._secret = environment.settings.get(SECRET, "").encode()

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the two imports."""
        return (
            self.row("jwt_sign", "iiii", self.sign, "Sign an account and session until a time."),
            self.row("jwt_verify", "iiii", self.verify, "Check a token and return what it says."),
        )

    def _request(self, pointer: int, length: int, call: CellCall) -> bytes:
        """Return the request, once the key and the library are found to be there."""
        if importlib.util.find_spec("jwt") is None:
            raise Refused(memory.ABSENT, "PyJWT is not installed: pip install 'guesthouse[pulp]'")
        if len(self._secret) < SHORTEST_SECRET:
            raise Refused(memory.ABSENT, f"{SECRET} is shorter than {SHORTEST_SECRET} bytes")
        if length == 0:  # this family has no code for an empty request of its own
            raise Refused(memory.BAD_RANGE, "empty request")
        return take(call, pointer, length)

    def sign(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {account_id, session_id, expires_at} with {token}; 3 for blank ids or a time that passed."""
        wanted = SignRequest.decode(self._request(pointer, length, call))
        if not wanted.account_id or not wanted.session_id or wanted.expires_at <= time.time() * 1000:
            raise DecodeError("a token needs an account, a session and a time to come")
        import jwt

        claims = {
            "iss": ISSUER,
            "aud": [self.name],
            "exp": wanted.expires_at // 1000,
            "account_id": wanted.account_id,
            "session_id": wanted.session_id,
        }
        try:
            token = jwt.encode(claims, self._secret, ALGORITHM)
        except jwt.PyJWTError as error:
            raise Refused(memory.FAILED, str(error)) from None
        return reply(call, Token(token), pointer_out, length_out)

    def verify(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {token} with {account_id, session_id}; 5 for a token that is not, or no longer, valid."""
        token = Token.decode(self._request(pointer, length, call)).token
        if not token:
            raise DecodeError("no token")
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._secret, [ALGORITHM], issuer=ISSUER, audience=self.name,
                options={"require": ["exp", "iss", "aud"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise Refused(INVALID, str(error)) from None
        account, session = claims.get("account_id"), claims.get("session_id")
        if not isinstance(account, str) or not isinstance(session, str) or not account or not session:
            raise Refused(INVALID, "the token names no account or no session")
        return reply(call, Identity(account, session), pointer_out, length_out)
