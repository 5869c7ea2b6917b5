"""A small page for people: the guests, what they may do, and what runs.

It loads nothing from elsewhere and shows no inputs or outputs.  With tokens configured it needs one like
everything else.
"""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from guesthouse.limits import format_duration, format_size
from guesthouse.server.api import InvokeApi

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>Guesthouse</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
 table {{ border-collapse: collapse; width: 100% }}
 th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884 }}
 :root {{ color-scheme: light dark }} small {{ opacity: .7 }}
</style>
<h1>Guesthouse</h1>
<p>{counts}</p>
<table><tr><th>guest<th>interface<th>may use<th>limits</tr>{rows}</table>
<p><small>Call one: <code>guesthouse call NAME --input FILE</code>, or
<code>POST /v1/guests/NAME/call</code>.</small></p></html>
"""


class StatusPage:
    """The page at ``/`` and the probe at ``/healthz``.

    Args:
        api: whose host and access rules.
    """

    def __init__(self, api: InvokeApi) -> None:
        self.api, self.host = api, api.host

    async def page(self, request: Request) -> Response:
        """Answer ``GET /``."""
        tenant = self.api.tenant(request)
        rows = "".join(
            f"<tr><td>{escape(guest.name)}<td>{escape(guest.interface)}"
            f"<td>{escape(', '.join(sorted(guest.granted)) or 'nothing beyond the basics')}"
            f"<td>{format_size(guest.limits.memory)}, "
            f"{'no deadline' if guest.limits.wall is None else format_duration(guest.limits.wall)}</tr>"
            for guest in self.host.guests
            if guest.tenant == tenant
        )
        counts = ", ".join(f"{value} {name}" for name, value in self.host.scheduler.stats().items())
        headers = {
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(_PAGE.format(rows=rows, counts=escape(counts)), headers=headers)

    async def health(self, request: Request) -> Response:
        """Answer ``GET /healthz``: the gateway answers, so it is up."""
        return JSONResponse({"status": "ok"})
