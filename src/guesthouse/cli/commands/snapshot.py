"""``guesthouse snapshot``: initialise a module once and write the module that begins there."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from guesthouse import snapshots
from guesthouse.cli import options, output
from guesthouse.errors import LoadError, ManifestError
from guesthouse.host import Host
from guesthouse.interfaces.pulp.loading import read_module
from guesthouse.interfaces.pulp.manifest import CellManifest
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.limits import format_size
from guesthouse.loading import assemble
from guesthouse.reading import MOST_TEXT, read_whole


def command(
    module: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--output", "-o"], help="Where to write the new module.")],
    grant: options.Grants = (),
    init: Annotated[str | None, Parameter(help="Export to run on top of the usual ones.")] = None,
    config: Annotated[Path | None, Parameter(help="TOML file with the configuration that it sees.")] = None,
    dir: Annotated[Sequence[str], options.repeatable("Let the guest use HOST:GUEST[:ro]")] = (),
    env: Annotated[Sequence[str], options.repeatable("Set NAME=VALUE in the guest's environment")] = (),
    interface: Annotated[
        str | None, Parameter(help="Interface to run it as, where that cannot be told.")
    ] = None,
    wall: options.Wall = None,
    memory: options.Memory = None,
    json: options.Json = False,
) -> int:
    """Initialise a module once (constructors, zygote, pulp_init); write the module that begins after that.

    Args:
        module: The .wasm or .wat file, or the pulp.cell.toml of a cell.
    """
    source, options_ = _read(module)
    if config is not None:
        options_["config"] = _config(config)
    directories, environment = options.directories(dir), options.environment(env)
    if directories:
        options_ |= {"dirs": directories}
        grant = [*grant, "wasi.files"]
    if environment:
        options_ |= {"env": environment}
    with Host(limits=options.limits(wall, memory, None)) as host:
        taken = snapshots.take(
            host, source, module.stem, initialiser=init, grant=[*grant, *options_.pop("grant", ())],
            interface=interface, **options_,
        )  # fmt: skip
    output.write_file(out, taken.wasm)
    if json:
        output.print_json({"file": str(out), "size": len(taken.wasm), "of": str(module), "after": taken.after,
                           "short_of": taken.short_of, "fixed": list(taken.fixed)})  # fmt: skip
    else:
        _tell(out, taken)
    return 0


def _tell(out: Path, taken: snapshots.Snapshot) -> None:
    if taken.after is None:
        print(f"{out}: {format_size(len(taken.wasm))}, begins where the original does")
        print("nothing of it runs before its first call; name an export that gets it ready with --init")
        return
    print(f"{out}: {format_size(len(taken.wasm))}, begins after {taken.after}")
    if taken.short_of is not None:
        print(f"not further, because {taken.short_of}")
    if taken.fixed:
        print(f"the same in every instance: {', '.join(taken.fixed)}")


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return a module, and what a manifest says about it.

    Raises:
        LoadError: it cannot be read.
        ManifestError: the manifest is malformed.
    """
    try:
        if path.suffix == ".toml":
            cell = CellManifest.load(path)
            spec = replace(CellSpec.of(cell), wasm_sha256=cell.wasm_sha256)
            return read_module(spec), {"grant": cell.capabilities, "config": cell.config}
        data = read_whole(path)
    except OSError as error:
        raise LoadError(f"cannot read {error.filename}: {error.strerror}") from None
    return assemble(data, path) if path.suffix == ".wat" else data, {}


def _config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_whole(path, MOST_TEXT).decode())
    except OSError as error:
        raise ManifestError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except ValueError as error:
        raise ManifestError(f"is not valid TOML: {error}", file=str(path)) from None
