"""``identity.minecraft-profile.resolve``: who a player's name belongs to (spec/pulp.md 3.11).

The guest gives a name and a platform; where to ask is ``[config.minecraft_profile]`` of its manifest, by
default the two public services.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from guesthouse.engine import HostFunction
from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Extension, Refused, aside, reply, request
from guesthouse.interfaces.pulp.structs import Message, go

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

SECTION = "minecraft_profile"
INVALID_ANSWER = 5
UNDELIVERED = 6
NO_SUCH_PLAYER = 7
TIMEOUT = 5.0
LARGEST_ANSWER = 32 << 10

#: Platform to the manifest's key, the public service, the path, and what a name looks like.
PLATFORMS = {
    "java": ("java_origin", "https://api.mojang.com", "/users/profiles/minecraft/", r"\w{3,16}"),
    "bedrock": ("bedrock_origin", "https://api.geysermc.org", "/v1/profiles/", r"[\w -]{1,32}"),
}


@dataclass(slots=True)
class Query(Message):
    """The request; ``platform`` is ``java`` or ``bedrock``."""

    player_name: str = go("str")
    platform: str = go("str")


@dataclass(slots=True)
class Profile(Message):
    """The reply; ``uuid`` in its hyphenated form, ``source`` the platform."""

    uuid: str = go("str")
    name: str = go("str")
    source: str = go("str")


class _Answer(msgspec.Struct):
    id: str = ""
    uuid: str = ""
    name: str = ""


class MinecraftProfile(Extension):
    """Asks the profile services for cells."""

    name = "identity.minecraft-profile.resolve"
    summary = "Who a player's name belongs to."

    def __init__(self) -> None:
        self._origins: dict[str, Mapping[str, str]] = {}

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the one import."""
        return (self.row("minecraft_profile_resolve", "iiii", self.resolve, "Resolve a player's name."),)

    def attach(self, cell: Cell) -> None:
        """Read where to ask; a table that is wrong fails the cell's load."""
        self._origins[cell.id] = origins(cell.spec.config, cell.name)

    def release(self, cell: Cell) -> None:
        """Forget where to ask."""
        self._origins.pop(cell.id, None)

    def resolve(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {player_name, platform}; 3 no such name can be, 4 no answer, 5 a wrong one, 7 nobody."""
        wanted = request(call, pointer, length, Query)
        name, platform = wanted.player_name.strip(" "), wanted.platform.strip(" ").lower()
        if platform not in PLATFORMS or not re.fullmatch(PLATFORMS[platform][3], name, re.ASCII):
            raise DecodeError(f"{name!r} cannot be a name on {platform!r}")
        url = self._origins[call.cell.id][platform] + PLATFORMS[platform][2] + quote(name, safe="")
        left = call.remaining()
        profile = aside(call, TIMEOUT, lambda: ask(url, platform, left))
        return UNDELIVERED if reply(call, profile, pointer_out, length_out) else memory.OK


def ask(url: str, platform: str, left: float | None) -> Profile:
    """Ask a service.

    Raises:
        Refused: 4 no answer, 5 an answer that is none, 7 nobody has the name.
    """
    import httpx

    timeout = TIMEOUT if left is None else min(TIMEOUT, left)
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=False) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise Refused(NO_SUCH_PLAYER, "the service knows nobody of that name")
            if answer.status_code != httpx.codes.OK:
                raise Refused(memory.FAILED, f"the service answered {answer.status_code}")
            if not answer.headers.get("Content-Type", "").lower().startswith("application/json"):
                raise Refused(INVALID_ANSWER, "the answer is no JSON")
            body = b""
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > LARGEST_ANSWER:
                    raise Refused(INVALID_ANSWER, "the answer is too large")
    except httpx.HTTPError as error:
        raise Refused(memory.FAILED, str(error)) from None
    try:
        found = msgspec.json.decode(body, type=_Answer)
        number = str(uuid.UUID(found.uuid or found.id))
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refused(INVALID_ANSWER, str(error)) from None
    if not re.fullmatch(PLATFORMS[platform][3], found.name, re.ASCII):
        raise Refused(INVALID_ANSWER, f"{found.name!r} is no name on {platform}")
    return Profile(number, found.name, platform)


def origins(config: Mapping[str, Any], cell: str) -> dict[str, str]:
    """Return where to ask for each platform.

    Raises:
        LoadError: an origin is no https origin.
    """
    table = config.get(SECTION, {})
    if not isinstance(table, dict):
        raise LoadError(f"config.{SECTION} is a table", guest=cell)
    found = {}
    for platform, (key, public, _path, _name) in PLATFORMS.items():
        origin = table.get(key, public)
        parts = urlsplit(origin.strip()) if isinstance(origin, str) else None
        bare = (
            parts is not None
            and parts.path in ("", "/")
            and not (parts.query or parts.fragment or parts.username)
        )
        if parts is None or parts.scheme != "https" or not parts.hostname or not bare:
            raise LoadError(
                f"config.{SECTION}.{key}: an https origin, without path or credentials", guest=cell
            )
        found[platform] = f"https://{parts.netloc}"
    return found
