"""Requests to a running host, for the commands that need one."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

#: Seconds to wait for an answer beyond the time that the request itself may take.
_PATIENCE = 30.0


def send(
    url: str,
    method: str,
    path: str,
    data: bytes,
    seconds: float = 0.0,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Send a request to a gateway; a token is taken from GUESTHOUSE_TOKEN.

    Args:
        url: where the gateway answers.
        method: the method.
        path: path and query.
        data: the body.
        headers: further headers.
        seconds: how long the host may work on it.

    Returns:
        Status, headers by lower-case name, body.

    Raises:
        ValueError: the URL is no http URL.
        OSError: nobody answers there.
    """
    try:
        where = urlsplit(url)
        host, port = where.hostname, where.port
    except ValueError:
        host = None
    if not host or where.scheme not in ("http", "https"):
        raise ValueError(f"--url {url}: write it as http://HOST:PORT")
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=seconds + _PATIENCE)
    token = os.environ.get("GUESTHOUSE_TOKEN")
    sent = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OSError(
            f"no host answers at {url} ({reason}); start one with `guesthouse up`, or name it with --url"
        ) from None
    finally:
        connection.close()


def failure(status: int, body: bytes) -> tuple[str, str]:
    """Return kind and message of an answer that is an error; the kind is empty where none is told."""
    try:
        error = parsed(body)["error"]
        return str(error["kind"]), str(error["message"])
    except (ValueError, TypeError, KeyError):
        return "", f"the host answered {status}: {body[:200].decode(errors='replace')}"


def parsed(text: str | bytes | None) -> dict[str, dict[str, object]]:
    """Return a JSON object, empty for nothing or anything else."""
    value = json.loads(text or "{}")
    return value if isinstance(value, dict) else {}
