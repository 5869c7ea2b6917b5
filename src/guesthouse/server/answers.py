"""How results and errors look over HTTP.

============================  ======  ================================================================
what happened                 status  body
============================  ======  ================================================================
the guest returned 0          200     its output
the guest returned a code     422     its output; the code is in ``Guesthouse-Code``
no such guest, entry or call  404     error object
deadline                      504     error object
trap, a limit, a failure      502     error object
cancelled                     409     error object
too many calls or instances   503     error object, ``Retry-After``
a parameter is wrong          400     error object
too much input                413     error object
============================  ======  ================================================================

Each answer to a call carries ``Guesthouse-Call`` (its id) and ``Guesthouse-Receipt`` (JSON: what it cost).
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse, Response

from guesthouse.calls import Result
from guesthouse.errors import (
    CallRefused,
    Cancelled,
    DeadlineExceeded,
    Error,
    InputLimit,
    LoadError,
    NotFound,
    ResourceError,
)

CALL_HEADER = "Guesthouse-Call"
CODE_HEADER = "Guesthouse-Code"
RECEIPT_HEADER = "Guesthouse-Receipt"
OCTETS = "application/octet-stream"


class BadRequest(Error):
    """A request cannot be understood; the message says which part."""


class TooLarge(Error):
    """A body is larger than it may be."""


class Conflict(Error):
    """A request does not fit what is there; the message says what would."""


_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (NotFound, 404),
    (DeadlineExceeded, 504),
    (Cancelled, 409),
    (CallRefused, 503),
    (ResourceError, 503),
    (LoadError, 422),
    (BadRequest, 400),
    (TooLarge, 413),
    (InputLimit, 413),
    (Conflict, 409),
)

#: Fields of errors that are told; others may hold what is nobody else's business.
_FIELDS = (
    "guest",
    "function",
    "code",
    "limit",
    "reason",
    "imports",
    "capability",
    "suggestion",
    "offset",
    "needed",
)
#: Longest header that clients and proxies take without fuss.
_HEADER_ROOM = 6000


def of_result(result: Result) -> Response:
    """Return the answer for a call that ended."""
    headers = {CALL_HEADER: str(result.call_id), RECEIPT_HEADER: receipt_header(result)}
    if result.error is not None:
        return of_error(result.error, headers)
    headers[CODE_HEADER] = str(result.code)
    return Response(bytes(result.output), 200 if result.code == 0 else 422, headers, OCTETS)


def of_error(error: BaseException, headers: dict[str, str] | None = None) -> Response:
    """Return the answer for an error; what a stranger's code raised is named, not quoted."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 502)
    known = isinstance(error, Error)
    facts: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": str(error) if known else "a host function failed; the host's log says how",
    }
    facts |= {name: value for name in _FIELDS if known and (value := getattr(error, name, None)) is not None}
    extra = dict(headers or {}, **({"Retry-After": "1"} if status == 503 else {}))
    return JSONResponse({"error": json.loads(json.dumps(facts, default=repr))}, status, extra)


def receipt_header(result: Result) -> str:
    """Return a receipt as one line of JSON; long lists are cut to what a header can hold."""
    facts = result.receipt.as_dict()
    text = json.dumps(facts, default=list)
    if len(text) > _HEADER_ROOM:
        children = list(facts.get("children") or ())  # type: ignore[call-overload]  # a tuple of ids
        facts |= {"host_calls": {}, "refusals": [], "children": children[:100], "shortened": True}
        text = json.dumps(facts, default=list)
    return text
