"""``guesthouse upload``: put a function, a state value or a file into a running host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from cyclopts import Parameter

from guesthouse.cli import exits, options, output
from guesthouse.cli.client import failure, send
from guesthouse.host import DEFAULT_TENANT
from guesthouse.reading import read_whole

Kind = Literal["function", "python", "state", "file"]


def command(
    source: Path,
    /,
    name: str | None = None,
    *,
    kind: Annotated[Kind, Parameter(help="What it is.")] = "function",
    tenant: Annotated[str, Parameter(help="Whose it will be; Faasm's user.")] = DEFAULT_TENANT,
    url: Annotated[
        str, Parameter(env_var="GUESTHOUSE_URL", help="Where the host answers.")
    ] = "http://127.0.0.1:8640",
    json: options.Json = False,
) -> int:
    """Put a function, a state value or a shared file into a running host that accepts uploads.

    The next call of a function runs the new version.  A token is taken from GUESTHOUSE_TOKEN.

    Args:
        source: the file to send.
        name: name of the function, key of the value or path of the shared file; the file's own by default.
    """
    data = read_whole(source)
    target = name or (source.stem if kind in ("function", "python") else source.name)
    headers = {"FilePath": target} if kind == "file" else {}
    status, _, body = send(url, "PUT", path_of(kind, tenant, target), data, headers=headers)
    if status != 200:
        output.complain(failure(status, body)[1])
        return exits.REFUSED
    if json:
        output.print_json({"kind": kind, "tenant": tenant, "name": target, "bytes": len(data)})
    else:
        output.console().print(f"{kind} {target} of {tenant}: {len(data)} bytes uploaded")
    return 0


def path_of(kind: Kind, tenant: str, name: str) -> str:
    """Return the path of the upload server that takes such a thing."""
    if kind == "file":
        return "/file"
    letter = {"function": "f", "python": "p", "state": "s"}[kind]
    return f"/{letter}/{quote(tenant, safe='')}/{quote(name, safe='/' if kind == 'state' else '')}"
