"""``guesthouse call``: call a guest of a running host."""

from __future__ import annotations

import http.client
import json
import os
import sys
from typing import Annotated
from urllib.parse import quote, urlencode, urlsplit

from cyclopts import Parameter

from guesthouse.cli import exits, options, output
from guesthouse.limits import parse_duration

#: Exit code by the kind of error that the gateway names.
_EXITS = {
    "DeadlineExceeded": exits.DEADLINE,
    "Trap": exits.TRAPPED,
    "OutOfFuel": exits.TRAPPED,
    "MemoryLimit": exits.TRAPPED,
    "OutputLimit": exits.TRAPPED,
}
#: Seconds to wait for an answer beyond the call's own wall time.
_PATIENCE = 30.0


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
    status, headers, body = post(url, path, data, parse_duration(wall) if wall else 600.0)
    cost = headers.get("guesthouse-receipt")
    if receipt and cost:
        sys.stderr.write(cost + "\n")
    if "guesthouse-code" not in headers:
        return _failed(status, body)
    code = int(headers["guesthouse-code"])
    if json:
        output.print_json({"code": code, "output": body.decode(errors="replace"), "receipt": _parsed(cost)})
    else:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
    return exits.guest_code(code)


def post(url: str, path: str, data: bytes, seconds: float) -> tuple[int, dict[str, str], bytes]:
    """Send a request to a gateway.

    Returns:
        Status, headers by lower-case name, body.

    Raises:
        ValueError: the URL is no http URL.
        OSError: nobody answers there.
    """
    where = urlsplit(url)
    if where.scheme not in ("http", "https") or not where.hostname:
        raise ValueError(f"--url {url}: write it as http://HOST:PORT")
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(where.hostname, where.port, timeout=seconds + _PATIENCE)
    token = os.environ.get("GUESTHOUSE_TOKEN")
    try:
        connection.request(
            "POST", path, data, {"Authorization": f"Bearer {token}"} if token else {},
        )  # fmt: skip
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    except (ConnectionRefusedError, TimeoutError) as error:
        raise OSError(
            f"no host answers at {url} ({error}); start one with `guesthouse up`, or name it with --url"
        ) from None
    finally:
        connection.close()


def _failed(status: int, body: bytes) -> int:
    try:
        error = _parsed(body)["error"]
        kind, message = str(error["kind"]), str(error["message"])
    except (ValueError, TypeError, KeyError):
        kind, message = "", f"the host answered {status}: {body[:200].decode(errors='replace')}"
    output.complain(message)
    return _EXITS.get(kind, exits.REFUSED)


def _parsed(text: str | bytes | None) -> dict[str, dict[str, object]]:
    value = json.loads(text or "{}")
    return value if isinstance(value, dict) else {}
