"""``entropy.read``: bytes from the operating system's generator (spec/pulp.md 3.9)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp.extension import Extension, Refused, reply, request
from guesthouse.interfaces.pulp.memory import NO_MEMORY, UNENCODABLE, UNWRITABLE
from guesthouse.interfaces.pulp.structs import EntropyReply, EntropyRequest

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall

LARGEST = 65_536

NOTHING_ASKED = 4
TOO_MUCH = 5
GENERATOR_FAILED = 6


class Entropy(Extension):
    """Real randomness for cells."""

    name = "entropy.read"
    summary = "Bytes from the operating system's random generator."
    #: This family counts its codes one further than the common ones.
    codes: ClassVar[Mapping[int, int]] = {UNENCODABLE: 7}

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the one import."""
        return (self.row("entropy_read", "iiii", self.read, "Return n random bytes, 1 to 65536."),)

    def read(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {n} with {bytes}; codes 4 nothing asked, 5 too much, 6 generator, 7 to 9 delivery."""
        wanted = request(call, pointer, length, EntropyRequest).n
        if wanted == 0:
            raise Refused(NOTHING_ASKED, "n is 0")
        if wanted > LARGEST:
            raise Refused(TOO_MUCH, f"n is {wanted}, at most {LARGEST} are given at once")
        try:
            data = os.urandom(wanted)
        except (OSError, NotImplementedError) as error:
            raise Refused(GENERATOR_FAILED, str(error)) from None
        code = reply(call, EntropyReply(bytes=data), pointer_out, length_out)
        return {NO_MEMORY: 8, UNWRITABLE: 9}.get(code, code)
