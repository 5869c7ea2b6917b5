"""The wasmtime wheel: the one module that touches what it does not document (DESIGN section 3, item 12).

The hot paths call the engine's C interface directly.  The shared library inside the wheel exports it;
this module checks that the wheel is one we know and hands out the addresses.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
from collections.abc import Iterable

#: Major versions of the wheel that this code was checked against.
SUPPORTED = range(50, 51)

try:
    from wasmtime import _ffi as ffi
except ImportError as error:  # pragma: no cover - only without the dependency
    raise ImportError(
        "Guesthouse needs the `wasmtime` package, version 50: pip install 'wasmtime>=50,<51'"
    ) from error


@functools.cache
def version() -> str:
    """Return the version of the installed wheel, such as ``50.0.1``."""
    return importlib.metadata.version("wasmtime")


def check_version(found: str) -> None:
    """Refuse a wheel that this code was not checked against.

    Args:
        found: version of the wheel.

    Raises:
        ImportError: the major version is outside :data:`SUPPORTED`.
    """
    major = found.partition(".")[0]
    if not major.isdigit() or int(major) not in SUPPORTED:
        raise ImportError(
            f"Guesthouse needs wasmtime {SUPPORTED.start}.x, found {found}: "
            f"pip install 'wasmtime>={SUPPORTED.start},<{SUPPORTED.stop}'"
        )


def symbols(names: Iterable[str]) -> list[int]:
    """Return the addresses of C functions of the engine.

    Args:
        names: names of exported functions.

    Raises:
        ImportError: one of them is absent; the message names the wheel that has it.
    """
    addresses = []
    for name in names:
        try:
            function = getattr(ffi.dll, name)
        except AttributeError:
            raise ImportError(
                f"wasmtime {version()} does not export {name}; "
                f"install 'wasmtime>={SUPPORTED.start},<{SUPPORTED.stop}'"
            ) from None
        addresses.append(ctypes.cast(function, ctypes.c_void_p).value or 0)
    return addresses


check_version(version())
