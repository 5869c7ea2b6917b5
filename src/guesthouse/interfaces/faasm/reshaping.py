"""What a host adds to a function's module before it is compiled (spec 3.2, 3.3).

Function pointers are indices of table 0, whether or not its author exported it.  And a ``_start`` that runs
the constructors itself must not run them again after they ran for the zygote.
"""

from __future__ import annotations

from guesthouse.engine import ModuleInfo
from guesthouse.engine.exporting import run_once, with_exports
from guesthouse.engine.modules import read

TABLE = "__indirect_function_table"
CONSTRUCTORS = "__wasm_call_ctors"

#: Functions that are handed function pointers.
_TAKE_POINTERS = frozenset(
    {"__faasm_chain_ptr", "pthread_create", "pthread_once", "pthread_key_create", "ffi_call"}
)


def reshaped(info: ModuleInfo, zygote: str, mains: tuple[str, ...]) -> ModuleInfo:
    """Return the module with its function table exported and its constructors kept from a second run.

    Args:
        info: a Faasm function; most are returned as they are.
        zygote: the export before which constructors run.
        mains: exports below ``_start`` that run no constructors.
    """
    if (
        info.tables
        and TABLE not in info.exports
        and any(item.name in _TAKE_POINTERS for item in info.imports)
    ):
        info = read(with_exports(bytes(info.source), info, [(TABLE, "table", 0)]))
    exports = info.exports
    constructors = exports.get(CONSTRUCTORS)
    if (
        zygote in exports
        and "_start" in exports
        and exports.keys().isdisjoint(mains)
        and constructors is not None
        and (constructors.kind, constructors.params, constructors.results) == ("function", "", "")
        and constructors.index >= info.imported("function")
    ):
        info = read(run_once(bytes(info.source), info, constructors.index))
    return info
