"""``guesthouse ctl``: look at and control Pulp cells that ``guesthouse up`` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from guesthouse.cli import options, output
from guesthouse.errors import ResourceError
from guesthouse.interfaces.pulp.control import DEFAULT_CONTROL_SOCKET, ask

COLUMNS = ("name", "state", "steps", "restarts", "runaways", "queued", "dropped", "error")


def command(
    operation: Literal["status", "reload", "shutdown", "shutdown_all"] = "status",
    cell: str = "",
    *,
    socket: Annotated[
        Path, Parameter(env_var="PULP_CTL_SOCK", help="The control socket of the running cells.")
    ] = Path(DEFAULT_CONTROL_SOCKET),
    json: options.Json = False,
) -> int:
    """Show the state of running Pulp cells, reload or shut one down, or end all.

    Args:
        operation: what to do.
        cell: the cell to reload or to shut down.
    """
    reply = ask(socket, operation, cell)
    if json:
        output.print_json(reply)
        return 0 if reply.get("ok") else 1
    if not reply.get("ok"):
        raise ResourceError(str(reply.get("error") or "refused"), resource="control socket")
    if operation == "status":
        output.print_table(reply["cells"], COLUMNS)
    return 0
