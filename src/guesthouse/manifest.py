"""The application manifest, ``guesthouse.toml`` (DESIGN section 7).

::

    [app]
    name = "shop"
    tenant = "acme"

    [guests.counter]
    wasm = "counter.wasm"
    sha256 = "…64 hex digits…"
    capabilities = ["faasm.state"]
    depends_on = ["stock"]

    [guests.counter.limits]
    memory = "64MiB"
    wall = "2s"

    [guests.counter.config]
    greeting = "hello"

Every refusal names the file, the line, the key and what would mend it.  Pulp's manifests are told apart by
:func:`kind_of` and read by ``guesthouse.interfaces.pulp.manifest``.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast, get_args

import msgspec

from guesthouse.errors import ManifestError
from guesthouse.limits import Limits
from guesthouse.reading import MOST_TEXT, read_whole

_Table = TypeVar("_Table", bound=msgspec.Struct)
Kind = Literal["guesthouse", "pulp.cell", "pulp.app", "pulp.host"]
Restart = Literal["never", "on_crash", "always"]


class App(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``[app]`` table: the application's name, and the tenant that its guests belong to."""

    name: str
    tenant: str = "default"


class GuestTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ``[guests.NAME]`` table as it is written; :class:`GuestManifest` is what comes of it."""

    wasm: str
    sha256: str | None = None
    interface: str | None = None
    capabilities: list[str] = []
    depends_on: list[str] = []
    provides: list[str] = []
    consumes: list[str] = []
    restart: Restart | None = None
    entry: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    dirs: dict[str, str] = {}
    limits: dict[str, Any] = {}
    config: dict[str, Any] = {}


class GuestManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One guest of an application.

    Attributes:
        name: the name it is called by.
        wasm: path of its module.
        sha256: digest that the module must have, in lower-case hex, or ``None``.
        interface: the interface, where the module alone does not tell.
        capabilities: what it is granted.
        depends_on: guests that must be up before it.
        provides, consumes: names that it offers to and wants from its siblings.
        restart: what to do when it fails: ``never``, ``on_crash`` or ``always``; ``None`` for its
            interface's own way.
        entry: export to call instead of the interface's own.
        args, env, dirs: arguments, environment and directories (guest path to host path) of a command.
        limits: what a call may use.
        config: handed to the guest or its interface.
        file: the manifest that it stands in.
    """

    name: str
    wasm: Path
    file: Path
    sha256: str | None = None
    interface: str | None = None
    capabilities: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    restart: Restart | None = None
    entry: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    dirs: Mapping[str, str] = {}
    limits: Limits
    config: Mapping[str, Any] = {}

    def read_module(self) -> bytes:
        """Return the module's bytes, after comparing them with the pinned digest.

        Raises:
            ManifestError: the file cannot be read, or is not the one that was pinned.
        """
        try:
            data = read_whole(self.wasm)
        except OSError as error:
            raise ManifestError(
                f"cannot read {self.wasm}: {error.strerror or error}",
                file=str(self.file), key=f"guests.{self.name}.wasm",
            ) from None  # fmt: skip
        if self.sha256 is not None:
            check_digest(data, self.sha256, file=str(self.file), key=f"guests.{self.name}.sha256")
        return data


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole application.

    Attributes:
        file: where it was read from.
        app: name and tenant.
        guests: in the order they are to be started: dependencies first, otherwise as they are written.
    """

    file: Path
    app: App
    guests: tuple[GuestManifest, ...]


def check_digest(data: bytes, expected: str, *, file: str | None = None, key: str | None = None) -> None:
    """Compare a module with its pin; to be done before anything is compiled.

    Raises:
        ManifestError: the digests differ.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != expected.strip().lower():
        message = (
            f"the module's sha256 is {found}, but {expected} is pinned; it is not the file that was reviewed"
        )
        raise ManifestError(message, file=file, key=key)


def valid_name(name: str) -> bool:
    """True for what can name a guest: printable, without spaces, slashes and @, at most 200 characters."""
    return 0 < len(name) <= 200 and name.isprintable() and not any(sign in name for sign in "/@ ")


def kind_of(path: str | Path) -> Kind:
    """Tell which kind of manifest a file is, by its name, and by its shape where the name does not tell.

    Raises:
        ManifestError: it cannot be read, or looks like none of them.
    """
    path = Path(path)
    for kind in ("pulp.cell", "pulp.app", "pulp.host"):
        if path.name.endswith(f"{kind}.toml"):
            return kind
    if path.name == "guesthouse.toml":
        return "guesthouse"
    table, _ = _parse(path)
    if table.keys() & {"app", "guests"}:
        return "guesthouse"
    for key, kind in (("applications", "pulp.host"), ("cells", "pulp.app"), ("version", "pulp.cell")):
        if key in table:
            return cast(Kind, kind)
    raise ManifestError(
        "neither an application ([app], [guests.NAME]) nor a manifest of Pulp", file=str(path)
    )


def load(path: str | Path) -> Manifest:
    """Read an application manifest and check all that can be checked without its modules.

    Raises:
        ManifestError: with file, key and line.
    """
    path = Path(path)
    table, text = _parse(path)
    return _Reader(path, text).manifest(table)


def _parse(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = read_whole(path, MOST_TEXT).decode()
        return tomllib.loads(text), text
    except OSError as error:
        raise ManifestError(f"cannot be read: {error.strerror or error}", file=str(path)) from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"is not UTF-8 at byte {error.start}", file=str(path)) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ManifestError(f"is not valid TOML: {error}", file=str(path)) from None


class _Reader:
    """Turns parsed tables into a :class:`Manifest`, and knows where each key stands."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text

    def fail(self, message: str, *keys: str) -> NoReturn:
        line = line_of(self.text, keys)
        raise ManifestError(
            f"{message} (line {line})" if line else message, file=str(self.path), key=".".join(keys) or None
        )

    def manifest(self, table: dict[str, Any]) -> Manifest:
        for key, value in table.items():
            if key not in ("app", "guests"):
                self.fail(f"unknown key{_nearest(key, ('app', 'guests'))}", key)
            if not isinstance(value, dict):
                self.fail("must be a table", key)
        if "app" not in table:
            self.fail("has no [app] table; it needs at least a name")
        app = self.convert(table["app"], App, "app")
        if not app.name.strip():
            self.fail("must not be blank", "app", "name")
        guests = {name: self.guest(name, body) for name, body in table.get("guests", {}).items()}
        if not guests:
            self.fail("has no guests; add a [guests.NAME] table with a `wasm`")
        self.check_links(guests)
        return Manifest(file=self.path, app=app, guests=tuple(self.in_order(guests)))

    def guest(self, name: str, body: Any) -> GuestManifest:
        where = ("guests", name)
        if not isinstance(body, dict):
            self.fail("must be a table", *where)
        if not valid_name(name):
            self.fail(
                "a guest's name must have no space, slash or @ in it, and at most 200 characters", *where
            )
        table = self.convert(body, GuestTable, *where)
        if table.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", table.sha256.strip()):
            self.fail("must be 64 hex digits; `sha256sum FILE` prints them", *where, "sha256")
        if not table.wasm.strip():
            self.fail("must not be blank", *where, "wasm")
        return GuestManifest(
            name=name, file=self.path, wasm=self.path.parent / table.wasm,
            sha256=table.sha256.strip().lower() if table.sha256 else None, interface=table.interface,
            capabilities=tuple(dict.fromkeys(c.strip().lower() for c in table.capabilities if c.strip())),
            depends_on=tuple(dict.fromkeys(table.depends_on)), provides=tuple(dict.fromkeys(table.provides)),
            consumes=tuple(dict.fromkeys(table.consumes)), restart=table.restart, entry=table.entry,
            args=tuple(table.args), env=table.env,
            dirs={guest: str(self.path.parent / host) for guest, host in table.dirs.items()},
            limits=self.limits(table.limits, *where, "limits"), config=table.config,
        )  # fmt: skip

    def limits(self, table: dict[str, Any], *where: str) -> Limits:
        known = Limits().as_dict()
        for key, value in table.items():
            if key not in known:
                self.fail(f"unknown limit{_nearest(key, known)}", *where, key)
            try:
                Limits(**{key: value})
            except ValueError as error:
                self.fail(str(error), *where, key)
        return Limits(**table)

    def convert(self, table: Any, kind: type[_Table], *where: str) -> _Table:
        known = msgspec.structs.fields(kind)
        for key in table:
            if key not in {field.name for field in known}:
                self.fail(f"unknown key{_nearest(key, [field.name for field in known])}", *where, key)
        for field in known:
            if field.required and field.name not in table:
                self.fail(f"`{field.name}` is missing", *where)
        try:
            return msgspec.convert(table, kind)
        except msgspec.ValidationError as error:
            # "Expected `str`, got `int` - at `$.env[...]`": the first key of the path is ours to show.
            message, _, path = str(error).partition(" - at ")
            key = re.match(r"`\$\.(\w+)", path)
            if message.startswith("Invalid enum value"):  # the only words to choose from in a manifest
                message += f"; there are: {', '.join(get_args(Restart))}"
            self.fail(message.replace("`", ""), *where, *([key[1]] if key else []))

    def check_links(self, guests: Mapping[str, GuestManifest]) -> None:
        """Refuse dependencies and consumed names that nobody serves."""
        offered = {*guests, *(name for guest in guests.values() for name in guest.provides)}
        for guest in guests.values():
            where = ("guests", guest.name)
            for other in guest.depends_on:
                if other == guest.name:
                    self.fail("a guest cannot depend on itself", *where, "depends_on")
                if other not in guests:
                    self.fail(f"there is no guest {other!r}{_nearest(other, guests)}", *where, "depends_on")
            for wanted in guest.consumes:
                if ":" in wanted:  # another tenant's; it may be loaded later, or not at all
                    continue
                if wanted not in offered and wanted.rpartition("/")[0] not in guests:
                    self.fail(f"no guest provides {wanted!r}{_nearest(wanted, offered)}", *where, "consumes")

    def in_order(self, guests: Mapping[str, GuestManifest]) -> Iterable[GuestManifest]:
        """Yield dependencies first, otherwise in the order of the file."""
        waiting, started = dict(guests), set[str]()
        while waiting:
            ready = next((g for g in waiting.values() if started.issuperset(g.depends_on)), None)
            if ready is None:
                first = next(iter(waiting))
                self.fail(f"dependency cycle among {', '.join(waiting)}", "guests", first, "depends_on")
            started.add(ready.name)
            yield waiting.pop(ready.name)


def locate(path: Path, keys: Iterable[str]) -> int | None:
    """Return the line where a key stands in a file; ``None`` where that cannot be told (any more)."""
    try:
        return line_of(path.read_text(), keys)
    except (OSError, UnicodeDecodeError):
        return None


def line_of(text: str, keys: Iterable[str]) -> int | None:
    """Return the line (from 1) where a key stands in a TOML file, as well as a look at its lines can tell.

    Args:
        text: the whole file.
        keys: the path to the key; where the last part has no line of its own, its table's is returned.
    """
    path, found = tuple(keys), None
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if header := re.match(r"\[\[?([^\[\]]+)\]", stripped):
            table = _dotted(header[1])
            here = table
        elif assignment := re.match(r"([^=#]+?)\s*=", stripped):
            here = (*table, *_dotted(assignment[1]))
        else:
            continue
        if here == path:
            return number
        if path[: len(here)] == here or (here[: len(path)] == path and found is None):
            found = number
    return found


def _dotted(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", text))


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(sorted(known))}"
