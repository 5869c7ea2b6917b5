"""``guesthouse ctl``: look at the cells of a running host and direct them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from guesthouse.cli import exits, options, output
from guesthouse.interfaces.pulp.framing import BadFrame, ask

_COLUMNS = ("name", "state", "steps", "instances", "restarts", "runaways", "queued", "dropped", "error")


def command(
    op: Literal["status", "reload", "shutdown", "shutdown_all"] = "status",
    cell: str | None = None,
    /,
    *,
    socket: Annotated[Path, Parameter(env_var="PULP_CTL_SOCK", help="Control socket of the host.")] = Path(
        "pulp.ctl"
    ),
    json: options.Json = False,
) -> int:
    """Look at the cells of a running host and direct them, through its control socket.

    Args:
        op: status shows every cell; reload replaces one by what its file holds now; shutdown stops one;
            shutdown_all ends the host.
        cell: The cell: its name, its address CELL@INSTANCE, or APPLICATION/INSTANCE/CELL.
    """
    if (cell is None) == (op in ("reload", "shutdown")):
        raise ValueError(f"ctl {op} {'needs the name of a cell' if cell is None else 'takes no cell'}")
    try:
        reply = ask(socket, {"op": op, **({"cell": cell} if cell is not None else {})})
    except OSError as error:
        raise OSError(
            f"no host listens at {socket} ({error.strerror or error}); name its socket with --socket"
        ) from None
    except BadFrame as error:
        raise OSError(f"{socket} does not answer as a host: {error}") from None
    if "error" in reply:
        output.complain(str(reply["error"]))
        return exits.REFUSED
    if json:
        output.print_json(reply)
    elif "cells" in reply:
        output.print_table(map(_row, reply["cells"]), _COLUMNS)
    return 0


def _row(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a cell's row with all that was dropped in one column: its queue's, then the capabilities'."""
    drops = {name: number for name, number in cell.get("drops", {}).items() if number}
    shown = [str(cell.get("dropped", 0)), *(f"{name} {number}" for name, number in drops.items())]
    return {**cell, "dropped": ", ".join(shown)}
