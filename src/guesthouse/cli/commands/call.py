"""``guesthouse call``: call a guest of a running host."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote, urlencode

from cyclopts import Parameter

from guesthouse.cli import exits, options, output
from guesthouse.cli.client import failure, parsed, send
from guesthouse.limits import parse_duration

#: Exit code by the kind of error that the gateway names.
_EXITS = {
    "DeadlineExceeded": exits.DEADLINE,
    "Trap": exits.TRAPPED,
    "OutOfFuel": exits.TRAPPED,
    "MemoryLimit": exits.TRAPPED,
    "OutputLimit": exits.TRAPPED,
}


def command(
    guest: str,
    /,
    *,
    input: options.Input = None,
    entry: Annotated[str | None, Parameter(help="Entry to call instead of the guest's own.")] = None,
    wall: options.Wall = None,
    tenant: Annotated[str | None, Parameter(help="Tenant whose guest is called.")] = None,
    url: Annotated[
        str, Parameter(env_var="GUESTHOUSE_URL", help="Where the host answers.")
    ] = "http://127.0.0.1:8640",
    receipt: options.Receipt = False,
    json: options.Json = False,
) -> int:
    """Call a guest of a running host; a token is taken from GUESTHOUSE_TOKEN.

    Args:
        guest: Name of the guest.
    """
    data = options.read_input(input) or b""
    query = urlencode({k: v for k, v in {"entry": entry, "wall": wall, "tenant": tenant}.items() if v})
    path = f"/v1/guests/{quote(guest, safe='')}/call" + (f"?{query}" if query else "")
    status, headers, body = send(url, "POST", path, data, parse_duration(wall) if wall else 600.0)
    cost = headers.get("guesthouse-receipt")
    if receipt and cost:
        sys.stderr.write(cost + "\n")
    if "guesthouse-code" not in headers:
        kind, message = failure(status, body)
        output.complain(message)
        return _EXITS.get(kind, exits.REFUSED)
    code = int(headers["guesthouse-code"])
    if json:
        output.print_json({"code": code, "output": body.decode(errors="replace"), "receipt": parsed(cost)})
    else:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
    return exits.guest_code(code)
