"""``guesthouse snapshot``: initialise a module once and write the module that begins there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from guesthouse import snapshots
from guesthouse.cli import options, output
from guesthouse.engine import wat_to_wasm
from guesthouse.errors import LoadError
from guesthouse.host import Host
from guesthouse.limits import format_size


def command(
    module: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--output", "-o"], help="Where to write the new module.")],
    grant: options.Grants = (),
    init: Annotated[str | None, Parameter(help="Export to run on top of the usual ones.")] = None,
    interface: Annotated[
        str | None, Parameter(help="Interface to run it as, where that cannot be told.")
    ] = None,
    wall: options.Wall = None,
    memory: options.Memory = None,
    json: options.Json = False,
) -> int:
    """Run a module's constructors (and zygote), and write a module whose instances begin after them.

    Args:
        module: The .wasm or .wat file.
    """
    try:
        data = module.read_bytes()
    except OSError as error:
        raise LoadError(f"cannot read {module}: {error.strerror}") from None
    wasm = wat_to_wasm(data.decode()) if module.suffix == ".wat" else data
    with Host(limits=options.limits(wall, memory, None)) as host:
        frozen = snapshots.take(host, wasm, module.stem, initialiser=init, grant=grant, interface=interface)
    temporary = out.with_name(out.name + ".part")
    temporary.write_bytes(frozen)
    temporary.replace(out)
    if json:
        output.print_json({"file": str(out), "size": len(frozen), "of": str(module)})
    else:
        print(f"{out}: {format_size(len(frozen))}, begins where {module.name} is initialised")
    return 0
