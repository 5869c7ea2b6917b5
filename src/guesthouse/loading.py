"""What happens to a module before it is compiled: it is read, given an owner, and its imports are bound."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from guesthouse.engine import ModuleInfo, read, read_file, wat_to_wasm
from guesthouse.errors import InvalidModule, LoadError, MissingImports, UnknownOption
from guesthouse.interfaces import Interface, available, notes
from guesthouse.reading import read_whole
from guesthouse.registry import Links, Registry

#: What `Host.load` itself takes, beside the options of the interfaces.
ARGUMENTS = (
    "name", "grant", "config", "limits", "tenant", "interface", "sha256", "lenient", "replace", "progress",
    "provides", "consumes", "private", "snapshot", "entry",
)  # fmt: skip


def check_options(given: Iterable[str], *own: str, of: str = "load") -> None:
    """Refuse an option that no interface takes: a grant, a limit or a rule of somebody's would be lost.

    Args:
        given: names of options.
        own: what the function takes by itself.
        of: that function.

    Raises:
        UnknownOption: the first that nobody understands.
    """
    taken = {option for interface in available() for option in interface.options}
    for option in given:
        if option not in taken:
            close = difflib.get_close_matches(option, [*own, *sorted(taken)], n=1, cutoff=0.5)
            raise UnknownOption(option, of=of, suggestion=close[0] if close else None, known=sorted(taken))


def outline(source: str | os.PathLike[str] | bytes, sha256: str | None) -> ModuleInfo:
    """Read what a module declares, after its digest was found to be the pinned one.

    Raises:
        LoadError: it cannot be read, is no module, or is not the one that was pinned.
    """
    if isinstance(source, bytes):
        return read(_pinned(source, sha256))
    path = Path(source)
    try:
        if path.suffix == ".wat":
            return read(assemble(_pinned(read_whole(path), sha256), path))
        # What is pinned is read as a whole, so that what was checked is what is compiled.
        return read_file(path) if sha256 is None else read(_pinned(read_whole(path), sha256))
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from error


def assemble(text: bytes, path: Path) -> bytes:
    """Assemble a module in the text format.

    Args:
        text: the module, as it was read from its file.
        path: that file, for the error.

    Raises:
        InvalidModule: it is not text, or cannot be assembled.
    """
    try:
        return wat_to_wasm(text.decode(), str(path))
    except UnicodeDecodeError as error:
        raise InvalidModule(f"{path} is not text: {error.reason}", offset=error.start) from None


def _pinned(data: bytes, sha256: str | None) -> bytes:
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256.strip().lower():
        raise LoadError("the module's SHA-256 is not the pinned one; it was changed or swapped")
    return data


def owner_of(info: ModuleInfo, wanted: str | None, granted: frozenset[str]) -> Interface:
    """Find the interface whose guest side runs the module.

    A module may show no sign of the interface it was built for: a Faasm function that only opens files
    imports what any WASI program does.  What it was granted tells then.

    Raises:
        LoadError: there is none of the wanted name.
    """
    if wanted is None:
        *others, anybodys = available()
        named = {capability.partition(".")[0] for capability in granted} - {anybodys.name}
        owners = [interface for interface in others if interface.owns(info)]
        owners += [
            interface
            for interface in others
            if getattr(interface, "unmarked", False) and named == {interface.name}
        ]
        return [*owners, anybodys][0]
    for interface in available():
        if interface.name == wanted:
            return interface
    names = ", ".join(interface.name for interface in available())
    raise LoadError(f"there is no interface {wanted!r}; there are: {names}")


def reshaped(info: ModuleInfo, owner: Interface) -> ModuleInfo:
    """Return what an interface makes of a module that it owns, before it is compiled."""
    made: ModuleInfo = getattr(owner, "reshape", lambda same: same)(info)
    return made


def has_threads(granted: frozenset[str]) -> bool:
    """Whether a guest with these grants may have shared memory."""
    return any(capability.endswith(".threads") for capability in granted)


def bind(
    registry: Registry,
    info: ModuleInfo,
    granted: frozenset[str],
    owner: Interface,
    *,
    lenient: bool,
    guest: str,
) -> tuple[Links, list[Interface]]:
    """Bind the imports, and find the other interfaces that the module imports from.

    Raises:
        LoadError: an import is unknown, not granted, or of another type.
    """
    shared = [
        (item.module, item.name)
        for item in info.imports
        if item.kind == "memory" and getattr(item.type, "shared", False)
    ]
    if shared and not has_threads(granted):
        raise MissingImports([(own, field, "wasix.threads") for own, field in shared], guest=guest)
    links = registry.resolve(
        info, granted, prefer=owner.name, lenient=lenient, provided=shared, guest=guest, notes=notes(info)
    )
    used = {id(row): None for row in links.values()}
    parties = [
        interface
        for interface in available()
        if interface is not owner and any(id(row) in used for row in interface.functions)
    ]
    return links, parties
